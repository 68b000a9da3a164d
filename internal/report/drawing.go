// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Drawing is the flow of the data between source images, staged copies and targets. The destinations of one target in
// one Region are one box.
type Drawing struct {
	Nodes []Node
	Edges []Edge
}

// Node is a box of a drawing.
type Node struct {
	ID      string // n00
	Kind    Kind
	Name    string // of the image, or the target block; "" for several blocks together
	Account string // "" for targets
	Region  string
	Copies  int // staged snapshots or images
	GiB     int64
	Served  int // of the destinations
	Failed  int
	Skipped int
	Open    int // pending or in progress
}

// Kind of a node.
type Kind string

// Kinds of nodes.
const (
	FromSource Kind = "source"
	AsStaged   Kind = "staged"
	ToTargets  Kind = "targets"
)

// All returns how many destinations a node represents.
func (n Node) All() int { return n.Served + n.Failed + n.Skipped + n.Open }

// Without counts the destinations that get no image: "1 failed, 2 skipped". Empty for none.
func (n Node) Without() string {
	var parts []string
	if n.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", n.Failed))
	}
	if n.Skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d skipped", n.Skipped))
	}
	return strings.Join(parts, ", ")
}

// WithoutGlyph returns the symbol for the destinations that get no image. It is that of failed ones, or of skipped ones
// if none has failed.
func (n Node) WithoutGlyph() string {
	if n.Failed == 0 {
		return glyph(Skipped)
	}
	return glyph(Failed)
}

// sizeSuffix returns the size after the Region. Empty if it is unknown.
func (n Node) sizeSuffix() string {
	if n.GiB == 0 {
		return ""
	}
	return ", " + size(n.GiB)
}

// Edge is an arrow of a drawing: data that is copied, or that needs no copy because a destination already has it.
type Edge struct {
	From, To string
	Copies   int
	GiB      int64
	Across   bool // from Region to Region
	IsUnused bool // nothing is copied, because no destination gets an image
}

// emptyText returns the text of an edge without copies.
func (e Edge) emptyText() string {
	if e.IsUnused {
		return "not copied"
	}
	return "no copy needed"
}

// mostBoxes is the maximum number of boxes for targets. With more, all targets in a Region are one box.
const mostBoxes = 24

type box struct {
	kind         Kind
	name, region string
}

// sketch is a drawing under construction.
type sketch struct {
	Drawing
	nodes map[box]int
	edges map[[2]int]int
}

// Drawing returns the flow of the data, which the reports draw. It is derived from the manifest and not part of it.
func (m Manifest) Drawing() Drawing {
	s := sketch{nodes: map[box]int{}, edges: map[[2]int]int{}}
	s.addSources(m.SourceAMIs)
	s.addStagedCopies(m.Steps)
	s.addDestinations(m)
	s.sort()
	return s.Drawing
}

func (s *sketch) addSources(images []SourceAMI) {
	for _, image := range images {
		n := s.node(box{FromSource, "", image.Region})
		s.Nodes[n].Name, s.Nodes[n].Account = image.AMIID, string(image.AccountID)
		for _, v := range image.Volumes {
			s.Nodes[n].GiB += v.SizeGiB
		}
	}
}

func (s *sketch) addStagedCopies(steps []Step) {
	for _, step := range steps {
		if !step.isCopy() || !step.Staged || step.Status == Skipped {
			continue
		}
		n := s.node(box{AsStaged, "", step.Region})
		s.Nodes[n].Account = step.AccountID
		s.Nodes[n].Copies++
		s.Nodes[n].GiB += int64(step.SizeGiB)
		s.flow(s.from(FromSource, string(step.SourceRegion)), n, step)
	}
}

func (s *sketch) addDestinations(m Manifest) {
	own := map[OptionalString]bool{} // the images and snapshots that are copied without staging
	for _, image := range m.SourceAMIs {
		own[OptionalString(image.AMIID)] = true
		for _, v := range image.Volumes {
			own[OptionalString(v.SnapshotID)] = true
		}
	}

	group := grouping(m.Destinations)
	boxes := make(map[distribution.Location]box, len(m.Destinations))
	for _, d := range m.Destinations {
		boxes[distribution.Location{Account: d.AccountID, Region: d.Region}] = group(d)
	}
	copied := map[distribution.Location]bool{}
	for _, step := range m.Steps {
		at := distribution.Location{Account: step.AccountID, Region: step.Region}
		to, known := boxes[at]
		if !step.isCopy() || step.Staged || !known || step.Status == Skipped || step.isTest() {
			continue
		}
		kind := AsStaged
		if own[step.SourceID] {
			kind = FromSource
		}
		s.flow(s.from(kind, string(step.SourceRegion)), s.node(to), step)
		copied[at] = true
	}

	for _, d := range m.Destinations {
		n := s.node(group(d))
		s.Nodes[n].Name = group(d).name
		s.Nodes[n].count(d.Status)
		if !copied[distribution.Location{Account: d.AccountID, Region: d.Region}] {
			s.link(s.from(AsStaged, string(d.SourceRegion)), n)
		}
	}
	s.markUnused()
}

// count adds a destination with a status to a node.
func (n *Node) count(status Status) {
	switch status {
	case Succeeded:
		n.Served++
	case Failed:
		n.Failed++
	case Skipped:
		n.Skipped++
	default:
		n.Open++
	}
}

// markUnused marks the edges to targets of which no destination gets an image.
func (s *sketch) markUnused() {
	for i, e := range s.Edges {
		to := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.ID == e.To })
		n := s.Nodes[to]
		s.Edges[i].IsUnused = s.Edges[i].Copies == 0 && n.Kind == ToTargets && n.Served+n.Open == 0
	}
}

// sort sorts the nodes by what they copy from, so that fewer arrows cross.
func (s *sketch) sort() {
	order := []Kind{FromSource, AsStaged, ToTargets}
	feeder := map[string]string{}
	for _, e := range s.Edges {
		feeder[e.To] = e.From
	}
	slices.SortStableFunc(s.Nodes, func(a, b Node) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)),
			cmp.Compare(feeder[a.ID], feeder[b.ID]))
	})
}

// grouping returns the box of each destination.
func grouping(all []Destination) func(Destination) box {
	boxes := map[box]bool{}
	for _, d := range all {
		boxes[box{ToTargets, d.Target, d.Region}] = true
	}
	return func(d Destination) box {
		if len(boxes) > mostBoxes {
			return box{ToTargets, "", d.Region}
		}
		return box{ToTargets, d.Target, d.Region}
	}
}

// node returns the index of a box. It adds the box if necessary.
func (s *sketch) node(b box) int {
	i, known := s.nodes[b]
	if !known {
		i = len(s.Nodes)
		s.nodes[b] = i
		s.Nodes = append(s.Nodes, Node{ID: fmt.Sprintf("n%02d", i), Kind: b.kind, Region: b.region})
	}
	return i
}

// from returns the node that data for a Region comes from. It prefers the staged copies in the Region, then the image
// in the Region, then the first image. -1 if there is none.
func (s *sketch) from(kind Kind, region string) int {
	for _, kind := range []Kind{kind, FromSource} {
		if i, known := s.nodes[box{kind, "", region}]; known {
			return i
		}
	}
	return slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Kind == FromSource })
}

// link draws an edge, once.
func (s *sketch) link(from, to int) *Edge {
	if from < 0 {
		return new(Edge)
	}
	i, known := s.edges[[2]int{from, to}]
	if !known {
		i = len(s.Edges)
		s.edges[[2]int{from, to}] = i
		s.Edges = append(
			s.Edges,
			Edge{From: s.Nodes[from].ID, To: s.Nodes[to].ID, Across: s.Nodes[from].Region != s.Nodes[to].Region},
		)
	}
	return &s.Edges[i]
}

func (s *sketch) flow(from, to int, copied Step) {
	e := s.link(from, to)
	e.Copies++
	e.GiB += int64(copied.SizeGiB)
}
