package notify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The length of a secret in bytes. The standard requires at least 24; shorter
// ones are accepted for receivers whose library generates them.
const (
	minSecret = 16
	maxSecret = 64
)

// signers sign as in Standard Webhooks, each with its own secret: during a
// rotation, a receiver may know the old or the new one.
type signers []*standardwebhooks.Webhook

// ValidateSecrets validates webhook.secrets. The error never contains a secret.
func ValidateSecrets(secrets []string) error {
	_, err := newSigners(secrets)
	return err
}

func newSigners(secrets []string) (signers, error) {
	var s signers
	var errs []error
	for i, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) < minSecret || len(key) > maxSecret {
			errs = append(errs, fmt.Errorf("webhook.secrets[%d]: must be whsec_ followed by %d to %d bytes in base64; "+
				"generate one with: echo whsec_$(openssl rand -base64 32)", i, minSecret, maxSecret))
			continue
		}
		signer, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			errs = append(errs, fmt.Errorf("webhook.secrets[%d]: %w", i, err))
			continue
		}
		s = append(s, signer)
	}
	return s, errors.Join(errs...)
}

// sign sets the headers of the scheme.
func (s signers) sign(header http.Header, id string, at time.Time, body []byte) error {
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	var signatures []string
	for _, signer := range s {
		signature, err := signer.Sign(id, at, body)
		if err != nil {
			return fmt.Errorf("sign %s: %w", id, err)
		}
		signatures = append(signatures, signature)
	}
	if len(signatures) > 0 {
		header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	}
	return nil
}
