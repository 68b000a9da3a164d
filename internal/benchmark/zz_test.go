package benchmark
import ("testing";"fmt";"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim")
var dump func(awssim.Record, bool)
func TestZZ(t *testing.T) {
	for _, n := range []int{1,3,10} {
		fmt.Println("=== ", n)
		dump = func(r awssim.Record, rec bool) {
			fmt.Println(n, rec, r.At.Format("15:04:05"), r.Account, r.Action, r.DryRun, r.Resources, r.Error)
		}
		if n == 10 { dump = nil }
		c := run(t, scenario{Targets:n, Regions:1, Volumes:2, GiB: 8, Shareable:true}, 1)
		total := 0
		for _, x := range c.calls { total += x }
		fmt.Println("TOTAL", n, total, "record", c.recordCalls, c.calls)
	}
}
