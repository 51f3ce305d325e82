package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/optimizerd/optimizerd/pkg/config"
)

// composed is what a test knows of a compose file.
type composed struct {
	Services map[string]service
	Volumes  map[string]any
}

type service struct {
	Image       string
	Environment map[string]string
	EnvFile     string `yaml:"env_file"`
	Volumes     []string
	Ports       []string
	DependsOn   []string `yaml:"depends_on"`
}

const (
	root         = "../../"
	composeFleet = root + "compose.fleet.yaml"
)

func readComposeFleet(t *testing.T) (c composed) {
	t.Helper()
	b, err := os.ReadFile(composeFleet)
	if err != nil {
		t.Fatal(err)
	}
	withDefaults := regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`).ReplaceAll(b, []byte("$1"))
	if err := yaml.Unmarshal(withDefaults, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFleetInContainersRefersToWhatExists(t *testing.T) {
	c := readComposeFleet(t)
	made, err := os.ReadFile(root + "scripts/fleet-secrets") // fleet-ca makes NAME.pem and NAME.key
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	ports := make(map[string]string)
	for name, s := range c.Services {
		if s.Image == "" || strings.Contains(s.Image, "$") {
			t.Errorf("%s: image %q", name, s.Image)
		}
		for _, other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is no service", name, other)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") || ports[p] != "" {
				t.Errorf("%s: port %s is open to other machines, or that of %s", name, p, ports[p])
			}
			ports[p] = name
		}
		if s.EnvFile != "" {
			checkBound(t, s.EnvFile, made)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if file, bound := strings.CutPrefix(source, "./"); bound {
				checkBound(t, file, made)
				continue
			}
			used[source] = true
			if _, ok := c.Volumes[source]; !ok {
				t.Errorf("%s: there is no volume %s", name, source)
			}
		}
	}
	if all := slices.Sorted(maps.Keys(c.Volumes)); len(used) != len(all) {
		t.Errorf("of the volumes %v only %d are used", all, len(used))
	}
}

// checkBound checks that a file which a container gets is in the repository, or is
// made by scripts/fleet-secrets, whose text is made.
func checkBound(t *testing.T, file string, made []byte) {
	t.Helper()
	secret, generated := strings.CutPrefix(file, "fleet/")
	if !generated {
		if _, err := os.Stat(root + file); err != nil {
			t.Error(err)
		}
		return
	}
	stem := strings.TrimSuffix(strings.TrimSuffix(secret, ".pem"), ".key")
	if stem != "ca" && !regexp.MustCompile(`\b`+regexp.QuoteMeta(stem)+`\b`).Match(made) {
		t.Errorf("scripts/fleet-secrets does not make %s", file)
	}
}

func TestNodesOfTheFleetInContainersAreConfigured(t *testing.T) {
	c := readComposeFleet(t)
	names := make(map[string]bool)
	for name, s := range c.Services {
		if !strings.HasPrefix(name, "node-") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", writeSecrets(t))
			for variable, value := range s.Environment {
				t.Setenv(variable, value)
			}
			got, err := config.LoadServable(root+"packaging/container.yaml", nil)
			if err != nil {
				t.Fatal(err) // a variable that is no setting, too
			}
			if !got.Fleet.Enabled() || got.Fleet.Replicas != 3 || len(got.Fleet.Servers) != 3 || names[got.Fleet.Node] {
				t.Errorf("fleet: %+v", got.Fleet)
			}
			names[got.Fleet.Node] = true
			for _, server := range got.Fleet.Servers {
				if !c.hasNATS(strings.TrimSuffix(strings.TrimPrefix(server, "tls://"), ":4222")) {
					t.Errorf("%s is no NATS server of the file", server)
				}
			}
			if store := got.Storage.S3; !c.hasBucket(strings.TrimSuffix(strings.TrimPrefix(store.Endpoint, "http://"), ":7070"), store.Bucket) {
				t.Errorf("%s has no bucket %s", store.Endpoint, store.Bucket)
			}
			for _, file := range []string{"/run/secrets/tokens", "/run/secrets/s3-key", got.Fleet.CAFile} {
				if !s.mounts(file) {
					t.Errorf("%s is not in the container", file)
				}
			}
		})
	}
	if len(names) != 3 {
		t.Errorf("%d nodes, want 3", len(names))
	}
}

// writeSecrets returns a directory with the secrets of a node.
func writeSecrets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for file, content := range map[string]string{"tokens": strings.Repeat("a", 64), "s3-key": "fleet\nsecret"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mounts reports whether the container can read a path from outside.
func (s service) mounts(path string) bool {
	return slices.ContainsFunc(s.Volumes, func(v string) bool { return strings.Contains(v, ":"+path+":ro") })
}

// hasNATS reports whether a service is a NATS server that is reached by its name.
func (c composed) hasNATS(name string) bool {
	environment := c.Services[name].Environment
	return environment["SERVER_NAME"] == name && environment["CLIENT_ADDRESS"] == name+":4222" && environment["CLUSTER_ADDRESS"] == name+":6222"
}

// hasBucket reports whether a service is an object store with a key and this bucket.
func (c composed) hasBucket(name, bucket string) bool {
	store := c.Services[name]
	return store.EnvFile != "" && slices.Contains(store.Volumes, bucket+":/objects/"+bucket)
}
