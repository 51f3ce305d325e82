module github.com/optimizerd/optimizerd

go 1.26

require (
	github.com/google/renameio/v2 v2.0.2
	github.com/h2non/bimg v1.1.9
	pgregory.net/rapid v1.3.0
)

require (
	github.com/oklog/ulid/v2 v2.1.2 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	go.uber.org/multierr v1.10.0 // indirect
	go.uber.org/zap v1.28.0 // indirect
)
