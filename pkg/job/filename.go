package job

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxFilename is the maximum length of a stored file name, in bytes.
const maxFilename = 255

// CleanFilename makes a client's file name safe to display: no directories, no
// control characters, valid UTF-8. It is never used as a path.
func CleanFilename(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, name)
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	if name == "." || name == ".." || name == "/" {
		return ""
	}
	for len(name) > maxFilename {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}
