package httpapi

import (
	"errors"
	"io"
	"io/fs"
	"mime/multipart"
	"strings"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

// formType is the only media type that matters: it determines where the image
// begins.
const formType = "multipart/form-data"

const (
	maxFormText = 64 << 10             // bytes of all text fields of a form together
	formSlack   = maxFormText + 64<<10 // bytes that a form may add to its file, boundaries and part headers included
)

var (
	errFiles = fault.New(fault.InvalidRequest, "The form must contain exactly one file: a part with a file name.")
	errForm  = fault.New(fault.TooLarge, "The form exceeds this server's limit for one image and %d bytes of text fields.", maxFormText)
)

// receiveForm streams the only file of a form into the spool. Text fields, which
// are parts without a file name, are ignored wherever they are.
func receiveForm(form *multipart.Reader, store storeFunc) error {
	files, text := 0, int64(0)
	for {
		part, err := form.NextPart()
		if err == io.EOF && files == 1 { //nolint:errorlint // it is wrapped where the form was cut
			return nil
		}
		if err != nil {
			return formFault(err)
		}
		if name := part.FileName(); name != "" {
			if files++; files > 1 {
				return errFiles
			}
			if _, err := store(part, formFilename.Replace(name)); err != nil {
				return formFault(err)
			}
			continue
		}
		n, err := io.Copy(io.Discard, io.LimitReader(part, maxFormText+1-text))
		if err != nil {
			return formFault(err)
		}
		if text += n; text > maxFormText {
			return fault.New(fault.TooLarge, "The text fields of the form exceed %d bytes.", maxFormText)
		}
	}
}

// formFilename undoes the escapes that browsers write into file names (HTML
// standard, "multipart/form-data encoding algorithm").
var formFilename = strings.NewReplacer("%22", `"`, "%0D", "\r", "%0A", "\n")

// formFault returns faults of the body and the spool unchanged. Other errors come
// from the form parser, so the request is malformed.
func formFault(err error) error {
	var f *fault.Error
	var path *fs.PathError
	switch {
	case errors.As(err, &f), errors.As(err, &path), fault.CodeOf(err) == fault.InsufficientStorage:
		return err
	case errors.Is(err, io.EOF):
		return errFiles
	default:
		return fault.Wrap(fault.InvalidRequest, err, "The multipart form is malformed.")
	}
}
