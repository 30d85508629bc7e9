// Copyright The Squall Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// witnessOptions says what the witness asks, how often and for how long.
type witnessOptions struct {
	url       string
	interval  time.Duration
	timeout   time.Duration
	duration  time.Duration
	keepAlive bool
	expect    int
	slots     string
}

func (o *witnessOptions) register(flags *flag.FlagSet) {
	flags.StringVar(&o.url, "witness", "", "be a client: request this http:// URL open loop and print a JSON summary")
	flags.DurationVar(&o.interval, "interval", 5*time.Millisecond, "witness: time between two planned instants")
	flags.DurationVar(&o.timeout, "timeout", time.Second, "witness: a good answer is complete this soon after its planned instant")
	flags.DurationVar(&o.duration, "duration", 10*time.Second, "witness: how long (SIGTERM or SIGINT ends it early)")
	flags.BoolVar(&o.keepAlive, "keep-alive", false, "witness: reuse connections; otherwise each request resolves and connects anew")
	flags.IntVar(&o.expect, "expect", http.StatusOK, "witness: the status of a good answer")
	flags.StringVar(&o.slots, "slots", "", "witness: write each slot to this file as planned,started,done,outcome")
}

// A slot is one planned instant and what became of it. Times are durations since the witness began, on the monotonic clock.
type slot struct {
	planned, started, done time.Duration
	outcome                string // "good" or the kind of failure
}

const good = "good"

// summary is what the witness prints. Instants are nanoseconds of CLOCK_REALTIME and 0 where there was none; each is the
// planned instant of a request, so that neither the client's lateness nor the server's slowness moves it.
type summary struct {
	URL            string         `json:"url"`
	KeepAlive      bool           `json:"keep_alive"`
	IntervalNS     int64          `json:"interval_ns"`
	TimeoutNS      int64          `json:"timeout_ns"`
	Started        int64          `json:"started"`
	Planned        int            `json:"planned"`
	Good           int            `json:"good"`
	Bad            int            `json:"bad"`
	FirstBad       int64          `json:"first_bad"`
	LastBad        int64          `json:"last_bad"`
	FirstGoodAfter int64          `json:"first_good_after"`
	Errors         map[string]int `json:"errors"`
	MaxLatenessNS  int64          `json:"max_lateness_ns"`
	Windows        []window       `json:"windows"`
}

// A window is a run of bad slots without a good one between them. NextGood is 0 where the run lasted to the end.
type window struct {
	FirstBad int64 `json:"first_bad"`
	LastBad  int64 `json:"last_bad"`
	NextGood int64 `json:"next_good"`
	Bad      int   `json:"bad"`
}

func watch(options witnessOptions) error {
	target, err := url.Parse(options.url)
	if err != nil {
		return err
	}
	if target.Scheme != "http" || target.Host == "" {
		return errors.New("--witness takes an http:// URL")
	}
	if options.interval <= 0 || options.timeout <= 0 || options.duration < options.interval {
		return errors.New("--interval and --timeout are above zero, and --duration is at least one interval")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	began := time.Now()
	slots := pace(ctx, newClient(target, options, began), options, began)
	if options.slots != "" {
		if err := writeSlots(options.slots, slots, began); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(summarise(options, slots, began))
}

// pace starts one goroutine per planned instant, whatever became of those before it: a slow server can't slow the witness down,
// and a witness that woke up late sends what it owes at once and reports the lateness.
func pace(ctx context.Context, c *client, options witnessOptions, began time.Time) []slot {
	slots := make([]slot, int(options.duration/options.interval))
	var running sync.WaitGroup
	for i := range slots {
		s := &slots[i]
		s.planned = time.Duration(i) * options.interval
		select {
		case <-ctx.Done():
			running.Wait()
			return slots[:i]
		case <-time.After(s.planned - time.Since(began)):
		}
		s.started = time.Since(began)
		running.Add(1)
		go func() {
			defer running.Done()
			s.outcome = c.ask(s.planned)
			s.done = time.Since(began)
		}()
	}
	running.Wait()
	return slots
}

// A client sends requests over plain connections. Go's own HTTP client is not used on purpose: it repeats a request in silence
// when a kept-alive connection turns out to be dead, which is just what has to be seen here.
type client struct {
	options witnessOptions
	began   time.Time
	address string
	request []byte

	mu   sync.Mutex
	idle []*connection
}

type connection struct {
	net.Conn
	reader *bufio.Reader
}

func newClient(target *url.URL, options witnessOptions, began time.Time) *client {
	address := target.Host
	if target.Port() == "" {
		address = net.JoinHostPort(target.Hostname(), "80")
	}
	mode := "close"
	if options.keepAlive {
		mode = "keep-alive"
	}
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: squall-witness\r\nConnection: %s\r\n\r\n",
		target.RequestURI(), target.Host, mode)
	return &client{options: options, began: began, address: address, request: []byte(request)}
}

// ask sends one request and says what became of it.
func (c *client) ask(planned time.Duration) string {
	deadline := c.began.Add(planned + c.options.timeout)
	conn, err := c.connect(deadline)
	if err != nil {
		return kind(err)
	}
	status, reusable, err := conn.exchange(c.request, deadline)
	if err == nil && reusable && c.options.keepAlive {
		c.mu.Lock()
		c.idle = append(c.idle, conn)
		c.mu.Unlock()
	} else {
		conn.Close()
	}
	switch {
	case err != nil:
		return kind(err)
	case time.Now().After(deadline):
		return "timeout"
	case status != c.options.expect:
		return fmt.Sprintf("status %d", status)
	}
	return good
}

func (c *client) connect(deadline time.Time) (*connection, error) {
	c.mu.Lock()
	if last := len(c.idle) - 1; last >= 0 {
		conn := c.idle[last]
		c.idle = c.idle[:last]
		c.mu.Unlock()
		return conn, nil
	}
	c.mu.Unlock()
	dialer := net.Dialer{Deadline: deadline}
	raw, err := dialer.Dial("tcp", c.address)
	if err != nil {
		return nil, err
	}
	return &connection{Conn: raw, reader: bufio.NewReader(raw)}, nil
}

func (conn *connection) exchange(request []byte, deadline time.Time) (status int, reusable bool, err error) {
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, false, err
	}
	if _, err := conn.Write(request); err != nil {
		return 0, false, err
	}
	response, err := http.ReadResponse(conn.reader, nil)
	if err != nil {
		return 0, false, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, false, err
	}
	return response.StatusCode, !response.Close, nil
}

// kind names a failure. "reset" and "closed" tell that a live machine answered; "timeout" tells nothing, as a power cut does.
func kind(err error) string {
	var dns *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "nxdomain"
	case errors.As(err, &dns):
		return "dns"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	return err.Error()
}

func summarise(options witnessOptions, slots []slot, began time.Time) summary {
	s := summary{
		URL: options.url, KeepAlive: options.keepAlive, IntervalNS: int64(options.interval), TimeoutNS: int64(options.timeout),
		Started: began.UnixNano(), Planned: len(slots), Errors: map[string]int{}, Windows: []window{},
	}
	var open *window
	for _, slot := range slots {
		at := began.UnixNano() + int64(slot.planned)
		s.MaxLatenessNS = max(s.MaxLatenessNS, int64(slot.started-slot.planned))
		if slot.outcome == good {
			s.Good++
			if open != nil {
				open.NextGood = at
				s.FirstGoodAfter = at
				open = nil
			}
			continue
		}
		s.Bad++
		s.Errors[slot.outcome]++
		if s.FirstBad == 0 {
			s.FirstBad = at
		}
		if open == nil {
			s.Windows = append(s.Windows, window{FirstBad: at})
			open = &s.Windows[len(s.Windows)-1]
		}
		s.LastBad, s.FirstGoodAfter = at, 0
		open.LastBad = at
		open.Bad++
	}
	return s
}

func writeSlots(path string, slots []slot, began time.Time) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	zero := began.UnixNano()
	for _, s := range slots {
		fmt.Fprintf(out, "%d,%d,%d,%s\n", zero+int64(s.planned), zero+int64(s.started), zero+int64(s.done), s.outcome)
	}
	return errors.Join(out.Flush(), file.Close())
}
