package tunnel

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/uuid"
)

// Token identifies and authenticates a tunnel. Its String method hides the
// secret.
type Token struct {
	account string
	secret  []byte
	id      uuid.UUID
}

// String returns the tunnel's id without the secret.
func (t Token) String() string { return "tunnel " + t.id.String() }

// GoString hides the secret from %#v.
func (t Token) GoString() string { return t.String() }

var errToken = errors.New("not a tunnel token: use the long string after --token in the command that the dashboard shows for the tunnel, or the output of 'cloudflared tunnel token NAME'")

// ParseToken parses a token as issued by Cloudflare: base64 of JSON. The error
// never quotes it.
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
