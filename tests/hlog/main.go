// Reads interval logs of HdrHistogram with the reader of the Go implementation, and prints what it found: one line of JSON for each
// interval. It shares nothing with the writer, and is what the tests hold probes.hlog against.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	hdrhistogram "github.com/HdrHistogram/hdrhistogram-go"
)

// Interval is one line of a log. Times are in milliseconds since the epoch, values in nanoseconds.
type Interval struct {
	Tag   string `json:"tag"`
	Start int64  `json:"start"`
	End   int64  `json:"end"`
	Count int64  `json:"count"`
	Min   int64  `json:"min"`
	P50   int64  `json:"p50"`
	Max   int64  `json:"max"`
}

func main() {
	for _, name := range os.Args[1:] {
		if err := read(name); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func read(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := hdrhistogram.NewHistogramLogReader(file)
	out := json.NewEncoder(os.Stdout)
	for {
		interval, err := reader.NextIntervalHistogram()
		if err != nil {
			return err
		}
		if interval == nil {
			return nil
		}
		err = out.Encode(Interval{
			Tag: interval.Tag(), Start: interval.StartTimeMs(), End: interval.EndTimeMs(), Count: interval.TotalCount(),
			Min: interval.Min(), P50: interval.ValueAtQuantile(50), Max: interval.Max(),
		})
		if err != nil {
			return err
		}
	}
}
