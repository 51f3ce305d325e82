// Crossings lists the functions through which one upload passes from one package
// of the service into another, and the callbacks by which it passes back. See
// scripts/crossings.
//
// A function counts once for each package that uses it, if it was executed. Not
// counted are leaves (packages without state of their own, and what only observes),
// accessors (methods without a branch or loop that call nothing but leaves), pure
// functions, calls inside one directory of pkg, and what assembles the service.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"log"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/tools/cover"
	"golang.org/x/tools/go/packages"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("dir", ".", "the module")
	leaves := flag.String("leaves", "", "packages of pkg that do not count, separated by spaces")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Usage: crossings [flags] BEFORE AFTER: coverage profiles (mode atomic) of the same run, and of one with an upload more")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	s, err := load(*dir, strings.Fields(*leaves), flag.Arg(0), flag.Arg(1))
	if err != nil {
		log.Fatal("crossings: ", err)
	}
	for _, p := range s.service {
		s.inspect(p)
	}
	s.print()
}

// block is a piece of code that was executed so many times.
type block struct {
	cover.ProfileBlock
	times int
}

// function is one function or method of the module.
type function struct {
	body  *ast.BlockStmt
	info  *types.Info
	times int // executed
	calls int // by name; the other executions are by its value
}

// use is a place where a package names a function of another one.
type use struct {
	from   string // package
	callee *types.Func
	value  bool // not a call
}

// survey is what is known of an upload.
type survey struct {
	prefix    string // of the packages' paths
	leaves    map[string]bool
	files     *token.FileSet
	service   []*packages.Package
	blocks    map[string][]block // by file
	functions map[*types.Func]*function
	named     []*types.Named
	uses      []use
	callbacks map[string]bool // where they are written
}

func load(dir string, leaves []string, before, after string) (*survey, error) {
	s := &survey{files: token.NewFileSet(), leaves: make(map[string]bool), functions: make(map[*types.Func]*function), callbacks: make(map[string]bool)}
	var err error
	if s.blocks, err = difference(before, after); err != nil {
		return nil, err
	}
	daemon, err := packages.Load(&packages.Config{
		Mode: packages.LoadAllSyntax | packages.NeedModule, Dir: dir, Fset: s.files, Env: append(os.Environ(), "CGO_ENABLED=0"),
	}, "./cmd/optimizerd")
	if err != nil {
		return nil, err
	}
	if packages.PrintErrors(daemon) > 0 {
		return nil, errors.New("the daemon does not compile")
	}
	s.prefix = daemon[0].Module.Path + "/pkg/"
	for _, leaf := range append(leaves, "daemon") {
		s.leaves[leaf] = true
	}
	packages.Visit(daemon, nil, func(p *packages.Package) {
		if name := s.name(p.Types); name != "" {
			s.index(p)
			if !s.leaves[name] {
				s.service = append(s.service, p)
			}
		}
	})
	return s, nil
}

// difference returns the blocks that were executed more often in the second profile.
func difference(before, after string) (map[string][]block, error) {
	type key struct {
		file                   string
		line, column, end, col int
	}
	counts := make(map[key]int)
	blocks := make(map[string][]block)
	for _, profile := range []struct {
		file string
		sign int
	}{{before, -1}, {after, 1}} {
		parsed, err := cover.ParseProfiles(profile.file)
		if err != nil {
			return nil, err
		}
		for _, p := range parsed {
			for _, b := range p.Blocks {
				k := key{p.FileName, b.StartLine, b.StartCol, b.EndLine, b.EndCol}
				counts[k] += profile.sign * b.Count
				if profile.sign > 0 && counts[k] > 0 {
					blocks[p.FileName] = append(blocks[p.FileName], block{b, counts[k]})
				}
			}
		}
	}
	return blocks, nil
}

// name returns the name of a package below pkg, "" if it is not there.
func (s *survey) name(p *types.Package) string {
	if p == nil || !strings.HasPrefix(p.Path(), s.prefix) {
		return ""
	}
	return strings.TrimPrefix(p.Path(), s.prefix)
}

// index records the functions and types of a package.
func (s *survey) index(p *packages.Package) {
	for _, file := range p.Syntax {
		for _, d := range file.Decls {
			decl, ok := d.(*ast.FuncDecl)
			if !ok || decl.Body == nil {
				continue
			}
			if f, ok := p.TypesInfo.Defs[decl.Name].(*types.Func); ok {
				s.functions[f] = &function{body: decl.Body, info: p.TypesInfo, times: s.started(p, decl.Body)}
			}
		}
	}
	for _, name := range p.Types.Scope().Names() {
		if t, ok := p.Types.Scope().Lookup(name).(*types.TypeName); ok {
			if named, ok := t.Type().(*types.Named); ok && named.TypeParams().Len() == 0 && !types.IsInterface(named) {
				s.named = append(s.named, named)
			}
		}
	}
}

// executed returns how often the code at a position was executed.
func (s *survey) executed(p *packages.Package, at token.Pos) int {
	pos := s.files.Position(at)
	for _, b := range s.blocks[p.PkgPath+"/"+path.Base(pos.Filename)] {
		after := pos.Line > b.StartLine || pos.Line == b.StartLine && pos.Column >= b.StartCol
		before := pos.Line < b.EndLine || pos.Line == b.EndLine && pos.Column < b.EndCol
		if after && before {
			return b.times
		}
	}
	return 0
}

func (s *survey) started(p *packages.Package, body *ast.BlockStmt) int {
	if len(body.List) == 0 {
		return 0
	}
	return s.executed(p, body.List[0].Pos())
}

// inspect records what a package uses of others.
func (s *survey) inspect(p *packages.Package) {
	for _, file := range p.Syntax {
		called := make(map[*ast.Ident]bool)
		var outer []ast.Node
		ast.Inspect(file, func(n ast.Node) bool {
			if n == nil {
				outer = outer[:len(outer)-1]
				return true
			}
			switch n := n.(type) {
			case *ast.CallExpr:
				called[nameOf(n.Fun)] = true
			case *ast.FuncLit:
				if s.started(p, n.Body) > 0 && s.handedOver(p, outer) {
					s.callbacks[s.files.Position(n.Pos()).String()] = true
				}
			case *ast.Ident:
				f, ok := p.TypesInfo.Uses[n].(*types.Func)
				times := s.executed(p, n.Pos())
				if !ok || times == 0 {
					break
				}
				s.use(p.Types, f.Origin(), !called[n], times)
				if f.Pkg() == p.Types && !called[n] && s.handedOver(p, outer) {
					s.callbacks[s.files.Position(n.Pos()).String()] = true
				}
			}
			outer = append(outer, n)
			return true
		})
	}
}

// nameOf returns the identifier of a called function, or nil.
func nameOf(e ast.Expr) *ast.Ident {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return e
	case *ast.SelectorExpr:
		return e.Sel
	default:
		return nil
	}
}

// handedOver reports whether a function is handed to another package of the service,
// as an argument or in one of its structs. outer is what the function stands in.
func (s *survey) handedOver(p *packages.Package, outer []ast.Node) bool {
	for _, n := range slices.Backward(outer) {
		var owner *types.Package
		switch n := n.(type) {
		case *ast.KeyValueExpr, *ast.SelectorExpr:
			continue
		case *ast.CompositeLit:
			if named, ok := p.TypesInfo.TypeOf(n).(*types.Named); ok {
				owner = named.Obj().Pkg()
			}
		case *ast.CallExpr:
			if f, ok := p.TypesInfo.Uses[nameOf(n.Fun)].(*types.Func); ok {
				owner = f.Pkg()
			}
		}
		return owner != p.Types && s.name(owner) != "" && !s.leaves[s.name(owner)]
	}
	return false
}

// use records the use of a function; of an interface's method, that of each method
// that was executed for it.
func (s *survey) use(from *types.Package, f *types.Func, value bool, times int) {
	methods := []*types.Func{f}
	for i := 0; i < len(methods); i++ {
		recv := methods[i].Signature().Recv()
		if recv == nil || !types.IsInterface(recv.Type()) {
			s.record(from, methods[i], value, times)
			continue
		}
		for _, m := range s.implementations(methods[i]) {
			if !slices.Contains(methods, m) { // a struct may embed the interface that it implements
				methods = append(methods, m)
			}
		}
	}
}

// implementations returns the methods of the service's types that implement a method
// of one of its interfaces. One may be of another interface, which a type embeds.
func (s *survey) implementations(f *types.Func) (methods []*types.Func) {
	if s.name(f.Pkg()) == "" {
		return nil // of a library
	}
	i := f.Signature().Recv().Type().Underlying().(*types.Interface)
	for _, t := range s.named {
		if !types.Implements(types.NewPointer(t), i) {
			continue
		}
		o, _, _ := types.LookupFieldOrMethod(types.NewPointer(t), true, f.Pkg(), f.Name())
		if m, ok := o.(*types.Func); ok {
			methods = append(methods, m.Origin())
		}
	}
	return methods
}

func (s *survey) record(from *types.Package, f *types.Func, value bool, times int) {
	if _, ok := s.functions[f]; !ok {
		return
	}
	if !value {
		s.functions[f].calls += times
	}
	s.uses = append(s.uses, use{s.name(from), f, value})
}

// counts reports whether a use is a crossing.
func (s *survey) counts(u use) bool {
	f, to := s.functions[u.callee], s.name(u.callee.Pkg())
	top := func(name string) string { return strings.Split(name, "/")[0] }
	switch {
	case f.times == 0, top(u.from) == top(to), s.leaves[to], s.accessor(u.callee, 0):
		return false
	default:
		return !u.value || f.times > f.calls
	}
}

// accessor reports whether a method only reads or sets what is there, or a function
// only computes.
func (s *survey) accessor(f *types.Func, depth int) bool {
	of, ok := s.functions[f]
	if !ok || depth > 2 {
		return false
	}
	simple := true
	ast.Inspect(of.body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt, *ast.RangeStmt, *ast.IfStmt, *ast.SwitchStmt:
			simple = simple && f.Signature().Recv() == nil
		case *ast.SelectStmt, *ast.GoStmt, *ast.FuncLit:
			simple = false
		case *ast.Ident:
			if callee, ok := of.info.Uses[n].(*types.Func); ok {
				own := callee.Pkg() == f.Pkg() && s.accessor(callee.Origin(), depth+1)
				simple = simple && (own || s.computes(callee.Pkg()))
			}
		}
		return simple
	})
	return simple
}

// computes reports whether the functions of a package only compute, or lock.
func (s *survey) computes(p *types.Package) bool {
	return p == nil || s.leaves[s.name(p)] || slices.Contains([]string{"sync", "context", "encoding/hex", "strings"}, p.Path())
}

func (s *survey) print() {
	lines := make(map[string]bool)
	for _, u := range s.uses {
		if !s.counts(u) {
			continue
		}
		name := u.callee.Name()
		if recv := u.callee.Signature().Recv(); recv != nil {
			name = path.Ext(recv.Type().String())[1:] + "." + name
		}
		lines[fmt.Sprintf("%-10s → %-16s %s", u.from, s.name(u.callee.Pkg()), name)] = true
	}
	for _, line := range slices.SortedFunc(maps.Keys(lines), cmp.Compare) {
		fmt.Println(line)
	}
	for _, at := range slices.Sorted(maps.Keys(s.callbacks)) {
		fmt.Println("callback:", at)
	}
	fmt.Printf("%d crossings, %d of them back by a callback\n", len(lines)+len(s.callbacks), len(s.callbacks))
}
