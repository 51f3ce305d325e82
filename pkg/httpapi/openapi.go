package httpapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"go.yaml.in/yaml/v3"
)

// openAPIYAML is written by hand. It is the contract: tests check every
// response of a running daemon against it.
//
//go:embed openapi.yaml
var openAPIYAML []byte

// openAPI returns the document as JSON.
var openAPI = sync.OnceValues(func() (json.RawMessage, error) {
	var document any
	if err := yaml.Unmarshal(openAPIYAML, &document); err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	return json.Marshal(document)
})

func (a *api) getOpenAPI(w *response, _ *http.Request) error {
	document, err := openAPI()
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, document)
}
