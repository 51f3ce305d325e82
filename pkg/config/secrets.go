package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

// minToken is the fewest characters of a token that is not easily guessed.
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

// secrets reads the file and the credential; least is the fewest characters of
// a secret.
func (l *loader) secrets(f secretFile, least int) (secrets []Secret) {
	var files []string
	if f.path != "" {
		files = append(files, f.path)
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		if path := filepath.Join(dir, f.credential); fileExists(path) {
			files = append(files, path)
		}
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

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
