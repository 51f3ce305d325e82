package doctor

import (
	"io/fs"
	"time"

	"github.com/optimizerd/optimizerd/pkg/codec"
	"github.com/optimizerd/optimizerd/pkg/fleet"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/s3"
	"github.com/optimizerd/optimizerd/pkg/thermal"
	"github.com/optimizerd/optimizerd/pkg/tunnel"
)

// Facts are the input of Examine. The zero value of a field means unknown,
// unless documented otherwise.
type Facts struct {
	Configuration Configuration
	Codec         Codec   // with settings only
	Machine       Machine // always
	Data          Data    // with settings only
	Port          Port    // with settings only
	Store         error   // why the object store cannot be used; nil also without one
	Fleet         Fleet   // with a fleet only
	Tunnel        Tunnel  // with settings only
}

// Configuration is the settings, or the reason there are none.
type Configuration struct {
	File     string    // "" if none was given
	Settings *Settings // nil if the configuration is not valid
	Problem  error     // why it is not valid
}

// Settings are the settings of the daemon that doctor examines.
type Settings struct {
	Listen       string // http.listen
	AdminListen  string // admin.listen
	Tokens       []string
	Webhooks     bool // a secret to sign webhooks is set
	AllowPrivate bool // fetch.allow_private
	AllowHosts   []string
	DataDir      string
	MinFree      int64 // storage.min_free
	MaxMemory    int64 // limits.max_memory
	DaemonMemory int64 // reserved for the daemon in addition to its codec processes
	Formats      []ladder.Format
	Unmade       []ladder.Format // formats limited to widths that the ladder does not have
	Codec        codec.Config
	Tunnel       tunnel.Config
	Store        *Store         // storage.s3; nil if not set, or without a key that is visible here
	Fleet        *fleet.Options // nil without a fleet
	FleetStore   string         // how its nodes report their object store if it is this machine's
	NotServable  error          // why the daemon would not start with the secrets that are visible here
}

// Store is the object store and whether originals are kept there.
type Store struct {
	s3.Config
	Key           s3.Key
	KeepOriginals bool
}

// Codec is the greeting of one child.
type Codec struct {
	Path      string
	Problem   error // why there was no greeting
	About     codec.About
	Processes int // at most, at once
}

// Machine is what the kernel reports.
type Machine struct {
	Model     string // of boards with a device tree: "Raspberry Pi 5 Model B Rev 1.0"
	PageSize  int
	Total     int64 // memory, bytes
	Available int64 // memory available without swapping, bytes
	Cgroup    Cgroup
	OpenFiles uint64 // descriptor limit
	NoRoots   bool   // no certificate authorities are installed
	Heat      thermal.Reading

	Now    time.Time
	Synced *bool // the kernel's clock is synchronized
	RTC    bool  // there is a battery-backed clock
}

// Cgroup describes the memory limits of a control group.
type Cgroup struct {
	Known    bool
	Memory   bool   // the kernel has the memory controller
	Disabled bool   // by the kernel command line
	Name     string // of the examined group
	Max      int64  // the lowest limit above it, bytes; 0 for none
}

// Data describes the data folder and its storage.
type Data struct {
	Dir     string
	Exists  bool
	Mode    fs.FileMode // if it exists
	Owner   int         // if it exists
	User    int         // effective user id of this process
	Problem error       // why no file can be created in it, or why it cannot be created

	Free, Total         int64  // bytes; Total is 0 if unknown
	FreeFiles, MaxFiles uint64 // inodes; MaxFiles is 0 if unlimited

	FileSystem string
	Device     Device

	Quarantine Quarantine
	SetAside   []string // names of records of jobs and webhooks that cannot be read
	Webhooks   Webhooks
}

// Device is the disk below the data folder.
type Device struct {
	Name string // of the disk, not the partition
	Kind Kind
}

// Kind is a kind of device, as shown to users.
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

// Quarantine counts the quarantined images.
type Quarantine struct {
	Problem    error
	Counting   int
	Old        int // recorded with another libvips: not in effect
	Unreadable int
}

// Webhooks counts the webhooks in the outbox.
type Webhooks struct {
	Problem error
	Pending int
	GivenUp int
}

// Port describes http.listen.
type Port struct {
	Problem  error    // the port is taken by another program or unusable
	Running  bool     // optimizerd answers there
	NotReady []string // parts that are not ready, except the tunnel
	Tunnel   TunnelState
}

// Tunnel describes the configured tunnel.
type Tunnel struct {
	OpenToken bool  // the token file is readable by everyone
	Edge      error // why Cloudflare's edge cannot be reached; only checked if no daemon is running
}

// TunnelState is a running daemon's tunnel state. The daemon accepts uploads
// without it.
type TunnelState struct {
	Down   bool
	Detail string
}
