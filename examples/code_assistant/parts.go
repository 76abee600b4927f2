package main

import (
	"regexp"
	"strings"
)

// parts are functions that find where the first part of a kind ends in a text: an offset, or -1 while it is not complete.
var parts = map[string]func(text string) int{
	"code":      endOfCode,
	"sentence":  endOfSentence,
	"paragraph": endOfParagraph,
}

var partNames = map[string]string{"code": "code block", "sentence": "sentence", "paragraph": "paragraph"}

var (
	openingFence = regexp.MustCompile("(?m)^ {0,3}(`{3,}|~{3,})[^`\n]*\n")
	sentenceEnd  = regexp.MustCompile(`[.!?]["')]*\s`)
	paragraphEnd = regexp.MustCompile(`\S[ \t]*\n[ \t]*\n`)
)

// endOfCode finds the end of the first fenced code block, by CommonMark's rule: a line of nothing but at least as many of
// the opening fence's marks. Only the line's end tells that nothing else follows.
func endOfCode(text string) int {
	opening := openingFence.FindStringSubmatchIndex(text)
	if opening == nil {
		return -1
	}
	fence, at := text[opening[2]:opening[3]], opening[1]
	for line := range strings.Lines(text[at:]) {
		at += len(line)
		marks := strings.TrimSpace(line)
		isClosing := len(marks) >= len(fence) && strings.Trim(marks, fence[:1]) == ""
		if isClosing && strings.HasSuffix(line, "\n") {
			return at
		}
	}
	return -1
}

func endOfSentence(text string) int {
	return endOf(sentenceEnd, text)
}

func endOfParagraph(text string) int {
	return endOf(paragraphEnd, text)
}

// endOf leaves out the space that told the end.
func endOf(pattern *regexp.Regexp, text string) int {
	end := pattern.FindStringIndex(text)
	if end == nil {
		return -1
	}
	return len(strings.TrimRight(text[:end[1]], " \t\n"))
}
