package verify_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/manifest"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/s3/s3test"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
	"github.com/optimizerd/optimizerd/pkg/verify"
)

// A listing that breaks off in the middle of a set says nothing about that set.
func TestBucketWhoseListingBreaksOffIsNotDamaged(t *testing.T) {
	id, digest := id("cat"), fmt.Sprintf("%064d", 1)
	variant := func(width int) manifest.Variant {
		v := ladder.Variant{Format: ladder.WebP, Width: width, Height: width}
		return manifest.Variant{Key: id + "/" + v.Name(), Format: v.Format, Width: width, Height: width, Bytes: 3, SHA256: digest}
	}
	b, err := manifest.Manifest{
		Version: manifest.Version, ID: id, CreatedAt: strictjson.At(time.Now()), Width: 640, Height: 640,
		Source: manifest.Source{SHA256: digest, Bytes: 3}, Variants: []manifest.Variant{variant(320), variant(640)},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		switch {
		case !query.Has("list-type"):
			_, _ = w.Write(b) // of the set, which is asked for too early
		case query.Get("continuation-token") != "":
			s3test.Refuse(w, http.StatusForbidden, "AccessDenied")
		case query.Get("prefix") != "":
			_, _ = w.Write([]byte("<ListBucketResult></ListBucketResult>"))
		default:
			fmt.Fprintf(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken>
				<Contents><Key>%[1]s/320.webp</Key><Size>3</Size></Contents>
				<Contents><Key>%[1]s/manifest.json</Key><Size>%[2]d</Size></Contents></ListBucketResult>`, id, len(b))
		}
	}))
	t.Cleanup(server.Close)
	objects, err := s3.Open(s3test.Config(server.URL), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(objects.Close)
	totals, err := verify.RunBucket(t.Context(), verify.Bucket{Objects: objects, Quick: true, Report: func(p verify.Problem) { t.Errorf("reported: %+v", p) }})
	if !s3.Is(err, s3.Denied) {
		t.Errorf("got %v and %+v, want the store's error", err, totals)
	}
}

// An index that is right about a bucket names only sets that are there.
func TestSetThatOnlyTheIndexHasIsReported(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Has("list-type"): // the bucket is empty
			_, _ = w.Write([]byte("<ListBucketResult></ListBucketResult>"))
		case r.URL.Path == "/"+s3test.BucketName+"/"+id("new")+"/manifest.json": // but for a set that was just published
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	objects, err := s3.Open(s3test.Config(server.URL), s3test.Key(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(objects.Close)
	indexed := [][]string{{id("cat"), id("deleted"), id("new")}, {id("cat"), id("new")}} // before and after the listing
	var found []string
	totals, err := verify.RunBucket(t.Context(), verify.Bucket{
		Objects: objects, Quick: true, Report: func(p verify.Problem) { found = append(found, string(p.Kind)+" "+p.ID) },
		Indexed: func() ([]string, error) {
			ids := indexed[0]
			indexed = indexed[1:]
			return slices.Sorted(slices.Values(ids)), nil
		},
	})
	if want := []string{"no_manifest " + id("cat")}; err != nil || !slices.Equal(found, want) || totals.Problems != 1 {
		t.Errorf("found %q, %+v, %v; want %q", found, totals, err, want)
	}
}
