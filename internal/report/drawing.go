// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Drawing is the way of the data: source images, what is staged, and the targets, those of one block in one Region together.
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
	Failed  int // those left out among them
	Open    int // waiting or under way
}

// Kind of a node.
type Kind string

const (
	FromSource Kind = "source"
	AsStaged   Kind = "staged"
	ToTargets  Kind = "targets"
)

// All is how many destinations a node stands for.
func (n Node) All() int { return n.Served + n.Failed + n.Open }

// Edge is data that flows, or is there already where it has no copy.
type Edge struct {
	From, To string
	Copies   int
	GiB      int64
	Across   bool // from Region to Region
}

// mostBoxes is how many boxes of targets a drawing has room for. Above that, all targets in a Region are one.
const mostBoxes = 24

type box struct {
	kind         Kind
	name, region string
}

// sketch is a drawing that is being made.
type sketch struct {
	Drawing
	nodes map[box]int
	edges map[[2]int]int
}

func drawing(p plan.Plan, d Document) Drawing {
	s := sketch{nodes: map[box]int{}, edges: map[[2]int]int{}}
	for _, image := range d.Sources {
		n := s.node(box{FromSource, "", image.Region})
		s.Nodes[n].Name, s.Nodes[n].Account = image.ImageID, image.Account
		for _, v := range image.Volumes {
			s.Nodes[n].GiB += int64(v.GiB)
		}
	}
	own := map[string]bool{} // snapshots of the source images
	for _, image := range p.Images {
		own[image.ImageID] = true
		for _, device := range image.Devices {
			own[device.SnapshotID] = true
		}
	}
	for _, newStep := range p.Steps {
		c, is := newStep.(step.Copying)
		if head := newStep.Meta(); is && head.Destination == (distribution.Location{}) {
			n := s.node(box{AsStaged, "", head.Location.Region})
			s.Nodes[n].Account = head.Location.Account
			s.Nodes[n].Copies++
			s.Nodes[n].GiB += c.Copies().GiB
			s.flow(s.from(FromSource, c.Copies().FromRegion), n, c.Copies())
		}
	}
	group := grouping(d.Destinations)
	boxes := make(map[distribution.Location]box, len(d.Destinations))
	for _, to := range d.Destinations {
		boxes[distribution.Location{Account: to.Account, Region: to.Region}] = group(to)
	}
	fed := map[distribution.Location]bool{}
	for _, newStep := range p.Steps {
		c, is := newStep.(step.Copying)
		head := newStep.Meta()
		to, known := boxes[head.Destination]
		if !is || !known {
			continue
		}
		kind, moved := AsStaged, c.Copies()
		if own[moved.Source.Known] {
			kind = FromSource
		}
		s.flow(s.from(kind, moved.FromRegion), s.node(to), moved)
		fed[head.Destination] = true
	}
	for _, to := range d.Destinations {
		n := s.node(group(to))
		s.Nodes[n].Name = group(to).name
		switch to.State {
		case distribution.DestinationSucceeded:
			s.Nodes[n].Served++
		case distribution.DestinationFailed, distribution.Excluded:
			s.Nodes[n].Failed++
		default:
			s.Nodes[n].Open++
		}
		if !fed[distribution.Location{Account: to.Account, Region: to.Region}] {
			s.link(s.from(AsStaged, to.From), n)
		}
	}
	order := []Kind{FromSource, AsStaged, ToTargets}
	feeder := map[string]string{} // sorted by what feeds them, boxes have fewer arrows that cross
	for _, e := range s.Edges {
		feeder[e.To] = e.From
	}
	slices.SortStableFunc(s.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)), cmp.Compare(feeder[a.ID], feeder[b.ID]))
	})
	return s.Drawing
}

// grouping says in which box a destination is drawn.
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

// node finds or makes a box.
func (s *sketch) node(b box) int {
	i, known := s.nodes[b]
	if !known {
		i = len(s.Nodes)
		s.nodes[b] = i
		s.Nodes = append(s.Nodes, Node{ID: fmt.Sprintf("n%02d", i), Kind: b.kind, Region: b.region})
	}
	return i
}

// from is where data of a Region comes from: what is staged there, else the image there, else the first image. -1: nothing is known.
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
		s.Edges = append(s.Edges, Edge{From: s.Nodes[from].ID, To: s.Nodes[to].ID, Across: s.Nodes[from].Region != s.Nodes[to].Region})
	}
	return &s.Edges[i]
}

func (s *sketch) flow(from, to int, moved step.CopyInfo) {
	e := s.link(from, to)
	e.Copies++
	e.GiB += moved.GiB
}
