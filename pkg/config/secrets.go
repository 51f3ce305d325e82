package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

// minToken is the minimum length of a token that is not easily guessed.
const minToken = 16

const shortToken = "a token must have at least 16 characters; make one with: openssl rand -hex 32"

// secretFile is a setting that names a file with secrets, one per line.
type secretFile struct {
	key        string
	path       string
	credential string // of systemd; read if it exists, without a setting
}

// readSecrets adds the secrets of files and of systemd credentials to those of
// the settings.
func (l *loader) readSecrets(c *Config) {
	for i, token := range c.Auth.Tokens {
		if utf8.RuneCountInString(string(token)) < minToken {
			l.add(l.locate(mistake{key: fmt.Sprintf("auth.tokens[%d]", i), text: shortToken}))
		}
	}
	c.Auth.Tokens = append(c.Auth.Tokens, l.secrets(secretFile{"auth.tokens_file", c.Auth.TokensFile, "tokens"}, minToken)...)
	c.Webhook.Secrets = append(c.Webhook.Secrets, l.secrets(secretFile{"webhook.secrets_file", c.Webhook.SecretsFile, "webhook-secrets"}, 1)...)
	l.readS3Key(c)
	if c.Fleet.CredentialsFile == "" && c.Fleet.Enabled() {
		c.Fleet.CredentialsFile = l.credential("nats")
	}
	if c.Tunnel.Mode != tunnel.Embedded {
		return // a token file that does not exist yet does no harm
	}
	f := secretFile{"tunnel.token_file", c.Tunnel.TokenFile, "tunnel-token"}
	switch tokens := l.secrets(f, 1); len(tokens) {
	case 0:
	case 1:
		token, err := tunnel.ParseToken(string(tokens[0]))
		if err != nil {
			l.add(l.locate(mistake{key: f.key, text: err.Error()}))
			return
		}
		c.Tunnel.Token = &token
	default:
		l.add(l.locate(mistake{key: f.key, text: fmt.Sprintf("must hold one token (got %d)", len(tokens))}))
	}
}

// readS3Key reads the key of the object store, if there is one.
func (l *loader) readS3Key(c *Config) {
	if !c.Storage.S3.Enabled() {
		return
	}
	f := secretFile{"storage.s3.key_file", c.Storage.S3.KeyFile, "s3-key"}
	switch lines := l.secrets(f, 1); len(lines) {
	case 0:
	case 2:
		key := s3.NewKey(string(lines[0]), string(lines[1]))
		c.Storage.S3Key = &key
	default:
		l.add(l.locate(mistake{key: f.key, text: fmt.Sprintf("must have two lines: access key id and secret access key (got %d)", len(lines))}))
	}
}

// ReadS3Key reads a file with the access key id and the secret access key, one per line.
func ReadS3Key(path string) (s3.Key, error) {
	lines, err := readSecretFile(path, 1)
	if err != nil {
		return s3.Key{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(lines) != 2 {
		return s3.Key{}, fmt.Errorf("%s: must have two lines: access key id and secret access key (got %d)", path, len(lines))
	}
	return s3.NewKey(string(lines[0]), string(lines[1])), nil
}

// service is the configuration that the package's unit uses, and the path prefix
// of the files that it loads as credentials.
var service = struct{ config, credentials string }{DefaultFile, "/etc/credstore/optimizerd."}

// credential returns the path of a credential, "" if there is none. systemd gives the
// service copies in a directory; a command that root runs by hand with the service's
// configuration reads the files themselves.
func (l *loader) credential(name string) string {
	path := service.credentials + name
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		path = filepath.Join(dir, name)
	} else if l.file != service.config {
		return ""
	}
	if _, err := os.Stat(path); err != nil {
		return "" // only root can read /etc/credstore
	}
	return path
}

// secrets reads the file and the credential; least is the minimum length
// of a secret.
func (l *loader) secrets(f secretFile, least int) (secrets []Secret) {
	var files []string
	if f.path != "" {
		files = append(files, f.path)
	}
	if path := l.credential(f.credential); path != "" {
		files = append(files, path)
	}
	for _, path := range files {
		found, err := readSecretFile(path, least)
		if err != nil {
			l.add(l.locate(mistake{key: f.key, text: path + ": " + err.Error()}))
			continue
		}
		secrets = append(secrets, found...)
	}
	return secrets
}

func readSecretFile(path string, least int) (secrets []Secret, err error) {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, errors.New("permission denied; run this command with sudo or as the user optimizerd")
	case err != nil:
		return nil, errors.Unwrap(err) // without the path again
	}
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		secret := strings.TrimSpace(line)
		if secret == "" || strings.HasPrefix(secret, "#") {
			continue
		}
		if utf8.RuneCountInString(secret) < least {
			return nil, fmt.Errorf("line %d: %s", number, shortToken)
		}
		secrets = append(secrets, Secret(secret))
	}
	if len(secrets) == 0 {
		return nil, errors.New("the file is empty")
	}
	return secrets, nil
}
