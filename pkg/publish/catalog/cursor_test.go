package catalog

import "testing"

func FuzzCursor(f *testing.F) {
	for _, cursor := range []string{
		"MTcwMDAwMDAwMDAwMDAwMDAwMA.aaaaaaaaaaaaaaaaaaaaaaaaaa", "LTE.aaaaaaaaaaaaaaaaaaaaaaaaaa", "MQ.", ".", "MQ.AAAAAAAAAAAAAAAAAAAAAAAAAA",
		"OTIyMzM3MjAzNjg1NDc3NTgwOA.aaaaaaaaaaaaaaaaaaaaaaaaaa", "MQ.aaaaaaaaaaaaaaaaaaaaaaaaaa.b", "KzE.aaaaaaaaaaaaaaaaaaaaaaaaaa", "",
	} {
		f.Add(cursor)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		at, ok := parseCursor(cursor)
		if !ok {
			return
		}
		if again, ok := parseCursor(at.cursor()); !ok || again != at {
			t.Errorf("%q is %v, whose cursor is %v, %v", cursor, at, again, ok)
		}
	})
}
