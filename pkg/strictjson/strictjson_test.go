package strictjson_test

import (
	"testing"

	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

func TestUnmarshal(t *testing.T) {
	for data, ok := range map[string]bool{
		`{"a": 1}`:         true,
		" {\"a\": 1}\n ":   true,
		`{"a": 1, "b": 2}`: false,
		`{"a": 1} {}`:      false,
		`{"a": 1}x`:        false,
		`{"a": 1`:          false,
		`{"a": "one"}`:     false,
		``:                 false,
	} {
		var v struct {
			A int `json:"a"`
		}
		if err := strictjson.Unmarshal([]byte(data), &v); (err == nil) != ok || (ok && v.A != 1) {
			t.Errorf("%q: got %+v, %v", data, v, err)
		}
	}
}
