package imaging

// intent is an ICC rendering intent, by its ICC number.
type intent int

const (
	perceptual intent = iota
	relative
	saturation
)

// profileIntent returns the intent for the conversion: relative, which changes least,
// if the profile has a table for it, otherwise one that it has. With a missing intent
// libvips does not convert at all.
func profileIntent(profile []byte) intent {
	tags := profileTags(profile)
	switch {
	case tags["A2B1"] != nil:
		return relative
	case tags["A2B0"] != nil:
		return perceptual
	case tags["A2B2"] != nil:
		return saturation
	default:
		return relative // primaries and curves
	}
}
