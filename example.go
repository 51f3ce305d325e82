// Package optimizerd embeds the project's files that programs need at run time.
package optimizerd

import _ "embed"

// Example is config.example.yaml: every setting with its default, described in
// the comment above it.
//
//go:embed config.example.yaml
var Example []byte
