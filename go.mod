module github.com/optimizerd/optimizerd

go 1.26

require (
	github.com/google/renameio/v2 v2.0.2
	github.com/h2non/bimg v1.1.9
	pgregory.net/rapid v1.3.0
)
