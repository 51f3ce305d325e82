package tunnel

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/uuid"
)

// Token says which tunnel this is, and proves it. It does not print itself.
type Token struct {
	account string
	secret  []byte
	id      uuid.UUID
}

// String names the tunnel, and hides the secret.
func (t Token) String() string { return "tunnel " + t.id.String() }

// GoString hides the secret from %#v.
func (t Token) GoString() string { return t.String() }

var errToken = errors.New("not a tunnel token: use the long string after --token in the command that the dashboard shows for the tunnel, or the output of 'cloudflared tunnel token NAME'")

// ParseToken reads a token as Cloudflare hands it out: base64 over JSON. The
// error never quotes it.
func ParseToken(s string) (Token, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return Token{}, errToken
	}
	var fields struct {
		Account string    `json:"a"`
		Secret  []byte    `json:"s"`
		ID      uuid.UUID `json:"t"`
	}
	if err := json.Unmarshal(b, &fields); err != nil || fields.Account == "" || len(fields.Secret) == 0 || fields.ID == uuid.Nil {
		return Token{}, errToken
	}
	return Token{account: fields.Account, secret: fields.Secret, id: fields.ID}, nil
}
