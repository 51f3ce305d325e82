package egress

var (
	CheckAddr = Rules.checkAddr
	Neighbor  = neighbor
)
