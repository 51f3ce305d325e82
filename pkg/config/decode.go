package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	int64Type    = reflect.TypeFor[int64]()
	secretType   = reflect.TypeFor[Secret]()
)

// hook converts YAML values and text to the type of the setting. Its errors say
// what is allowed.
func hook(from, to reflect.Type, value any) (any, error) {
	if from == to {
		return value, nil
	}
	convert := map[reflect.Kind]func(any) (any, bool){
		reflect.Bool: toBool, reflect.Int: toInt, reflect.Int64: toBytes, reflect.String: toString, reflect.Slice: toList,
	}[to.Kind()]
	if to == durationType {
		convert = toDuration
	}
	if convert == nil {
		return value, nil
	}
	converted, ok := convert(value)
	if ok {
		return converted, nil
	}
	text := "must be " + kind(to)
	if to != secretType {
		text += got("", value)
	}
	return nil, errors.New(text)
}

// kind describes the values that a setting of this type may have.
func kind(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration such as 90s, 25m or 7d"
	case t == int64Type:
		return "a number such as 1000000 or 100MiB"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Slice:
		return "a list"
	default:
		return "text"
	}
}

// toDuration accepts days besides Go's units, and a bare 0.
func toDuration(value any) (any, bool) {
	if value == 0 {
		return time.Duration(0), true
	}
	s, ok := value.(string)
	if !ok {
		return nil, false
	}
	unit := time.Duration(1)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		s, unit = days+"h", 24
	}
	d, err := time.ParseDuration(s)
	if err != nil || d > math.MaxInt64/unit || d < math.MinInt64/unit {
		return nil, false
	}
	return d * unit, true
}

// ParseDuration parses a duration as settings do: with days besides Go's units.
func ParseDuration(s string) (time.Duration, error) {
	if d, ok := toDuration(s); ok {
		return d.(time.Duration), nil
	}
	return 0, fmt.Errorf("must be a duration such as 90d or 12h (got %q)", s)
}

// toBytes accepts units such as MiB and GB.
func toBytes(value any) (any, bool) {
	if s, ok := value.(string); ok {
		n, err := humanize.ParseBytes(s)
		return int64(min(n, math.MaxInt64)), err == nil && n <= 1<<62
	}
	n, ok := toInt(value)
	if !ok {
		return nil, false
	}
	return int64(n.(int)), true
}

func toInt(value any) (any, bool) {
	switch n := value.(type) {
	case int:
		return n, true
	case float64: // 1e8
		return int(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	case string:
		i, err := strconv.Atoi(n)
		return i, err == nil
	default:
		return nil, false
	}
}

func toBool(value any) (any, bool) {
	b, err := strconv.ParseBool(fmt.Sprint(value))
	return b, err == nil
}

// toString accepts any type of text. Numbers in the file arrive as text, too.
func toString(value any) (any, bool) {
	return value, reflect.TypeOf(value).Kind() == reflect.String
}

// toList splits the lists of the environment and the command line at commas.
func toList(value any) (any, bool) {
	s, ok := value.(string)
	if !ok {
		return value, reflect.TypeOf(value).Kind() != reflect.Map
	}
	list := []string{}
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list, true
}
