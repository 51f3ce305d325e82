package imaging

// intent is a rendering intent of ICC, by its number there.
type intent int

const (
	perceptual intent = iota
	relative
	saturation
)

// profileIntent is the intent to convert by: relative, which changes least,
// where the profile has a table for it; else one that it has. By an intent that
// is missing libvips does not convert at all.
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
