package egress

var (
	CheckAddr = Rules.checkAddr
	Neighbour = neighbour
)
