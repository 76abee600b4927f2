package tokengrpc

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

func TestCursorsAndTheirTexts(t *testing.T) {
	for text, want := range map[string]Cursor{
		"tg1.57.9ae0daaf.k3Jq0wXb.chat-7": {"chat-7", 57, "k3Jq0wXb", 0x9ae0daaf, true},
		"tg1.0...chat-7":                  {GenerationID: "chat-7"},
		"tg1.2.00000000..a.b~_":           {GenerationID: "a.b~_", Sequence: 2, HasChecksum: true},
		"tg1.2147483647..-_.x":            {GenerationID: "x", Sequence: 1<<31 - 1, LogIncarnation: "-_"},
	} {
		got, err := ParseCursor(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestOtherTextsAreNoCursors(t *testing.T) {
	for _, text := range []string{
		"", "chat-7", "tg1.57.9ae0daaf.k3Jq0wXb.", "tg2.57.9ae0daaf.k3Jq0wXb.chat-7", "tg1.57.9AE0DAAF.k3Jq0wXb.chat-7",
		"tg1.-1...chat-7", "tg1.2147483648...chat-7", "tg1.7.12..chat-7", "tg1.1...a b", "tg1.1...chat-7\n", "tg1.007...chat-7",
		"tg1.1..." + strings.Repeat("x", 129),
	} {
		_, err := ParseCursor(text)
		failure := new(Error)
		if !errors.As(err, &failure) || failure.Reason != "INVALID_CURSOR" || failure.Code != codes.InvalidArgument {
			t.Errorf("%q: %v", text, err)
		}
	}
}
