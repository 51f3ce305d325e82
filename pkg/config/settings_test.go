package config_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
)

func TestSettingsAreAllDescribed(t *testing.T) {
	var described []string
	for _, section := range config.Sections() {
		if section.Description == "" {
			t.Errorf("%s has no comment in config.example.yaml", section.Name)
		}
		for _, s := range section.Settings {
			described = append(described, s.Key)
			if s.Description == "" || s.Kind == "" || s.Default == "" {
				t.Errorf("%+v is not complete", s)
			}
		}
	}
	slices.Sort(described)
	if !slices.Equal(described, config.Keys()) {
		t.Errorf("described are\n%v\nthe settings are\n%v", described, config.Keys())
	}
}

// Every value that is offered is valid, and the next one is not.
func TestValuesThatAreOfferedAreValid(t *testing.T) {
	for _, s := range config.Settings() {
		for _, value := range s.Values {
			if _, err := config.Load("", []string{s.Key + "=" + value}); err != nil {
				t.Errorf("%s=%s: %v", s.Key, value, err)
			}
		}
		if s.Values != nil {
			if _, err := config.Load("", []string{s.Key + "=neither"}); err == nil {
				t.Errorf("%s takes any value", s.Key)
			}
		}
	}
}

const referenceFile = "../../docs/configuration.md"

// With UPDATE=1 it writes the page.
func TestDocsConfigurationIsWhatTheExampleSays(t *testing.T) {
	b, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	intro, _, ok := strings.Cut(string(b), "## ")
	if !ok {
		t.Fatalf("%s has no section", referenceFile)
	}
	want := intro + config.Reference()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if string(b) != want {
		t.Errorf("%s differs from config.example.yaml; write it with: UPDATE=1 go test ./pkg/config", referenceFile)
	}
}
