package s3_test

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/optimizerd/optimizerd/pkg/s3"
)

// object describes an object with this content.
func object(key, content string) s3.Object {
	sum := sha256.Sum256([]byte(content))
	return s3.Object{
		Key: key, Bytes: int64(len(content)), ContentType: "image/webp", CacheControl: "no-store", SHA256: hex.EncodeToString(sum[:]),
	}
}
