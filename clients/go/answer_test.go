package tokengrpc

import (
	"hash/crc32"
	"os"
	"testing"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
)

func tokens(sequence, index int32, texts ...string) *pb.StreamTokensResponse {
	message := &pb.StreamTokensResponse{Sequence: sequence}
	for i, text := range texts {
		message.Tokens = append(message.Tokens, &pb.Token{Index: index + int32(i), Count: 1, Text: text})
	}
	return message
}

func mustAdd(t *testing.T, a *Answer, messages ...*pb.StreamTokensResponse) {
	t.Helper()
	for _, message := range messages {
		if _, err := a.add(message); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEachTokenIsTakenOnce(t *testing.T) {
	var a Answer
	mustAdd(t, &a, tokens(2, 0, "one ", "two "))
	mustAdd(t, &a, tokens(1, 0, "one "), tokens(4, 2, "three ", "four"))
	if a.Text() != "one two three four" || a.Sequence != 4 {
		t.Errorf("%q up to %d", a.Text(), a.Sequence)
	}
}

func TestTextWithoutANewTokenIsKept(t *testing.T) {
	var a Answer
	held := &pb.StreamTokensResponse{Sequence: 2, Tokens: []*pb.Token{{Index: 1, Count: 0, Text: "end"}}}
	mustAdd(t, &a, tokens(1, 0, "the "), held)
	if a.Text() != "the end" {
		t.Errorf("%q", a.Text())
	}
}

func TestWhatIsMissingIsAGap(t *testing.T) {
	finished := &pb.StreamTokensResponse{Sequence: 9, Event: &pb.StreamTokensResponse_Finished{Finished: &pb.Finished{}}}
	for _, message := range []*pb.StreamTokensResponse{tokens(3, 2, "late"), finished} {
		var a Answer
		mustAdd(t, &a, tokens(1, 0, "first"))
		if _, err := a.add(message); err == nil || err.Reason != "STREAM_GAP" || a.Sequence != 1 {
			t.Errorf("got %v at %d", err, a.Sequence)
		}
	}
}

func TestReadingMayBeginAnywhere(t *testing.T) {
	a := answerAfter(Cursor{Sequence: 7})
	mustAdd(t, &a, tokens(8, 40, "x"))
	if _, err := a.add(tokens(9, 42, "z")); err == nil {
		t.Error("a gap after the first token is not seen")
	}
}

func TestToolCallsInterleave(t *testing.T) {
	var a Answer
	mustAdd(t, &a, &pb.StreamTokensResponse{Sequence: 1, ToolCallFragments: []*pb.ToolCallFragment{
		{CallIndex: 1, Id: "b", FunctionName: "time", ArgumentsFragment: "{"},
		{CallIndex: 0, Id: "a", FunctionName: "weather", ArgumentsFragment: `{"at":`},
		{CallIndex: 1, ArgumentsFragment: "}", Opaque: []byte("kept")},
		{CallIndex: 0, ArgumentsFragment: `"Bern"}`},
	}})
	calls := a.ToolCalls()
	if len(calls) != 2 || calls[0].Id != "a" || calls[0].Arguments != `{"at":"Bern"}` || calls[1].FunctionName != "time" || calls[1].Arguments != "{}" {
		t.Errorf("%v", calls)
	}
	if len(calls[0].Opaque) != 0 || string(calls[1].Opaque) != "kept" {
		t.Errorf("opaque is %q and %q", calls[0].Opaque, calls[1].Opaque)
	}
}

func TestAnEventOfANewerServerCountsAsProcessed(t *testing.T) {
	var a Answer
	mustAdd(t, &a, tokens(1, 0, "a"), &pb.StreamTokensResponse{Sequence: 2}, tokens(3, 1, "b"))
	if a.Sequence != 3 || a.Text() != "ab" {
		t.Errorf("%q up to %d", a.Text(), a.Sequence)
	}
}

func TestNoticesMoveNothing(t *testing.T) {
	var a Answer
	heartbeat := &pb.StreamTokensResponse{Sequence: 5, Notice: &pb.StreamTokensResponse_Heartbeat{Heartbeat: &pb.Heartbeat{}}}
	if isNew, err := a.add(heartbeat); !isNew || err != nil || a.Sequence != 0 {
		t.Errorf("%v, %v, cursor %d", isNew, err, a.Sequence)
	}
}

func TestTheOutputIsChecked(t *testing.T) {
	checked := func(message *pb.StreamTokensResponse, checksum uint32) *pb.StreamTokensResponse {
		message.OutputChecksum = &checksum
		return message
	}
	fragment := &pb.ToolCallFragment{Id: "d", FunctionName: "e", ArgumentsFragment: "f", Opaque: []byte("not in it")}
	all := &pb.StreamTokensResponse{Sequence: 2, Tokens: []*pb.Token{
		{Index: 1, Count: 1, Text: "b", ReasoningText: "c"}, {Index: 2, Count: 1, RefusalText: "ö"},
	}, ToolCallFragments: []*pb.ToolCallFragment{fragment}}
	var a Answer
	mustAdd(t, &a, checked(tokens(1, 0, "a"), crc32.ChecksumIEEE([]byte("a"))))
	mustAdd(t, &a, checked(all, crc32.ChecksumIEEE([]byte("abcödef"))))
	_, err := a.add(checked(tokens(3, 3, "lost"), 0x9ae0daaf))
	if err == nil || err.Reason != "CHECKSUM_MISMATCH" || a.Sequence != 2 || a.Text() != "ab" {
		t.Errorf("%v at %d, %q", err, a.Sequence, a.Text())
	}
}

func TestAnUnknownChecksumIsThatOfTheFirstMessageThatHasOne(t *testing.T) {
	sum := crc32.ChecksumIEEE([]byte("abc"))
	a := answerAfter(Cursor{Sequence: 7})
	mustAdd(t, &a, tokens(8, 1, "b"))
	if cursor := a.cursor("id"); cursor.HasChecksum {
		t.Errorf("%v", cursor)
	}
	message := tokens(9, 2, "c")
	message.OutputChecksum = &sum
	mustAdd(t, &a, message)
	if cursor := a.cursor("id"); cursor.Checksum != sum || !cursor.HasChecksum {
		t.Errorf("%v", cursor)
	}
	mustAdd(t, &a, tokens(10, 3, "d"))
	if cursor := a.cursor("id"); cursor.Checksum != crc32.ChecksumIEEE([]byte("abcd")) {
		t.Errorf("%v", cursor)
	}
}

func TestTheLogsNameIsKept(t *testing.T) {
	var a Answer
	mustAdd(t, &a, started())
	attached := &pb.Attached{LogIncarnation: "another"}
	mustAdd(t, &a, &pb.StreamTokensResponse{Notice: &pb.StreamTokensResponse_Attached{Attached: attached}}, heartbeat())
	if cursor := a.cursor("id"); cursor.LogIncarnation != "another" {
		t.Errorf("%v", cursor)
	}
}

func TestSharedFilesAreCopied(t *testing.T) {
	for name, embedded := range map[string]string{"service_config.json": serviceConfig, "error_texts.json": string(errorTextsFile)} {
		shared, err := os.ReadFile("../" + name)
		if err != nil {
			t.Skip("not in the project's tree: ", err)
		}
		if string(shared) != embedded {
			t.Errorf("%s differs from clients/%s: copy it", name, name)
		}
	}
}
