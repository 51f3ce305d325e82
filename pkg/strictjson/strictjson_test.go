package strictjson_test

import (
	"testing"

	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

func TestMembers(t *testing.T) {
	for data, ok := range map[string]bool{
		`{"a": 1, "b": {"c": 2, "c": 3}}`: true,
		` {} `:                            true,
		`[{"x": 1}]`:                      true, // no object, and somebody else's to refuse
		`5`:                               true,
		`{"A": 1}`:                        false,
		`{"a": 1, "a": 2}`:                false,
		`{"c": 1}`:                        false,
		`{"a": 1,}`:                       false,
		`{"a"`:                            false,
		``:                                false,
		"{\"a\": \"\xff\"}":               false,
	} {
		if err := strictjson.Members([]byte(data), "a", "b"); (err == nil) != ok {
			t.Errorf("%q: got %v", data, err)
		}
	}
}

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
