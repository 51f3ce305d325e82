package s3

import (
	"context"
	"encoding/xml"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// page is a response to a list request.
type page struct {
	XMLName      xml.Name `xml:"ListBucketResult"`
	EncodingType string   // "url" if the store has encoded the keys
	Contents     []struct {
		Key          string
		Size         int64
		LastModified time.Time
	}
	IsTruncated           bool
	NextContinuationToken string
}

// maxPage bounds a page of 1,000 objects, bytes.
const maxPage = 4 << 20

// List returns the objects whose keys begin with prefix, in the order of their
// keys, without their metadata and ETag. An error is the last element: the listing is not
// complete.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		token := ""
		for {
			p, err := b.listPage(ctx, prefix, token)
			if err != nil {
				yield(Object{}, err)
				return
			}
			for _, c := range p.Contents {
				if !yield(Object{Key: c.Key, Bytes: c.Size, Modified: c.LastModified}, nil) {
					return
				}
			}
			if !p.IsTruncated {
				return
			}
			if p.NextContinuationToken == "" || p.NextContinuationToken == token {
				yield(Object{}, unsupported("list", "this store does not list more objects than one page has"))
				return
			}
			token = p.NextContinuationToken
		}
	}
}

func (b *Bucket) listPage(ctx context.Context, prefix, token string) (p page, err error) {
	query := url.Values{"list-type": {"2"}, "prefix": {prefix}, "encoding-type": {"url"}} // XML cannot contain every key
	if token != "" {
		query.Set("continuation-token", token)
	}
	response, err := b.do(ctx, request{operation: "list", method: http.MethodGet, query: query})
	if err != nil {
		return p, err
	}
	defer response.Body.Close()
	if err := xml.NewDecoder(io.LimitReader(response.Body, maxPage)).Decode(&p); err != nil {
		return p, disconnected("list", prefix, err)
	}
	if p.EncodingType != "url" {
		return p, nil
	}
	for i := range p.Contents {
		key := &p.Contents[i].Key
		if *key, err = url.QueryUnescape(*key); err != nil {
			return p, unsupported("list", err.Error())
		}
	}
	return p, nil
}
