package doctor

import (
	"io/fs"
	"time"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/thermal"
)

// Facts are what there is to judge. The zero value of a field means that it is
// not known, if nothing else is said.
type Facts struct {
	Settings Settings
	Codec    Codec   // with a configuration only
	Machine  Machine // always
	Data     Data    // with a configuration only
	Port     Port    // with a configuration only
	Tunnel   Tunnel  // with a configuration only
}

// Settings are the configuration, or why there is none.
type Settings struct {
	File    string         // "" if none was named
	Config  *config.Config // nil if it cannot be used
	Problem error          // why it cannot
}

// Codec is what one child said of itself.
type Codec struct {
	Path      string
	Problem   error // why there was no greeting
	About     codec.About
	Processes int // children at once
}

// Machine is what the kernel tells.
type Machine struct {
	Model     string // of a board with a device tree: "Raspberry Pi 5 Model B Rev 1.0"
	PageSize  int
	Total     int64 // bytes of memory
	Available int64 // of them without swapping
	Cgroup    Cgroup
	OpenFiles uint64 // the most descriptors the daemon can have
	NoRoots   bool   // it knows no authority that signs certificates
	Heat      thermal.Reading

	Now    time.Time
	Synced *bool // the kernel's clock is kept in step with others
	RTC    bool  // there is a clock that runs without power
}

// Cgroup is whether and how groups of processes are limited in memory.
type Cgroup struct {
	Known    bool
	Memory   bool   // the kernel has the memory controller
	Disabled bool   // by its command line
	Name     string // of the group that was looked at
	Max      int64  // the least limit above it, bytes; 0 for none
}

// Data is the data folder and what it lies on.
type Data struct {
	Dir     string
	Exists  bool
	Mode    fs.FileMode // if it exists
	Owner   int         // if it exists
	User    int         // who looks
	Problem error       // why no file can be made in it, or it cannot be made

	Free, Total         int64  // bytes; Total 0 if not known
	FreeFiles, MaxFiles uint64 // files; Most 0 if there is no bound

	FileSystem string
	Device     Device

	Quarantine Quarantine
	Webhooks   Webhooks
}

// Device is what the data folder's bytes end on.
type Device struct {
	Name string // of the whole disk
	Kind Kind
}

// Kind is a kind of device, in words for people.
type Kind string

// The kinds of devices.
const (
	SDCard   Kind = "SD card"
	EMMC     Kind = "eMMC"
	Stick    Kind = "removable drive"
	SSD      Kind = "SSD"
	Rotating Kind = "rotating disk"
	Virtual  Kind = "virtual disk"
)

// Quarantine is how many sources are refused.
type Quarantine struct {
	Problem    error
	Counting   int
	Old        int // made with another libvips: they do not count
	Unreadable int
}

// Webhooks are how many lie in the outbox.
type Webhooks struct {
	Problem error
	Pending int
	GivenUp int
}

// Port is what is found at http.listen.
type Port struct {
	Problem  error    // it is neither free nor optimizerd's
	Running  bool     // an optimizerd answers there
	NotReady []string // the parts of it that are not, but for its tunnel
	Tunnel   TunnelState
}

// Tunnel is what can be seen of the way from Cloudflare.
type Tunnel struct {
	OpenToken bool  // everybody on this machine can read the token's file
	Edge      error // why Cloudflare's edge cannot be reached; looked at where it matters, and no daemon runs
}

// TunnelState is what a running daemon says of its tunnel, without which it
// takes uploads all the same.
type TunnelState struct {
	Down   bool
	Detail string
}
