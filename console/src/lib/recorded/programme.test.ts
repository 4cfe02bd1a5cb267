import { describe, expect, it } from 'vitest';
import { endOf, jumpBetween, mediaAt, piecesOf, startAt, wallAt, type Piece } from './programme';

const T = Date.UTC(2026, 10, 20, 10);
// Ten seconds, a gap of a minute, ten seconds; the last fragment is shorter.
const pieces: Piece[] = [
  ...[0, 2, 4, 6, 8].map((start) => ({ start, duration: 2, wall: T + start * 1000 })),
  ...[0, 2, 4, 6].map((start) => ({ start: 10 + start, duration: 2, wall: T + 70_000 + start * 1000 })),
  { start: 18, duration: 1.5, wall: T + 78_000 },
];

describe('wall time of media time', () => {
  it('runs with the media inside a recording', () => {
    expect(wallAt(pieces, 0)).toBe(T);
    expect(wallAt(pieces, 3.25)).toBeCloseTo(T + 3250, 3);
  });

  it('jumps at a gap', () => {
    expect(wallAt(pieces, 9.999)).toBeCloseTo(T + 9999, 0);
    expect(wallAt(pieces, 10)).toBe(T + 70_000);
  });

  it('stays within the playlist', () => {
    expect(wallAt(pieces, -1)).toBe(T);
    expect(wallAt(pieces, 99)).toBe(T + 79_500);
    expect(wallAt([], 1)).toBeNull();
  });
});

describe('media time of wall time', () => {
  it('is the inverse wherever something is recorded', () => {
    for (let media = 0; media < 19.5; media += 0.13) expect(mediaAt(pieces, wallAt(pieces, media)!)).toBeCloseTo(media, 6);
  });

  it('inside a gap is the first picture after it', () => {
    expect(mediaAt(pieces, T + 10_000)).toBe(10);
    expect(mediaAt(pieces, T + 45_000)).toBe(10);
    expect(mediaAt(pieces, T + 69_999)).toBe(10);
  });

  it('outside is none: another playlist is needed', () => {
    expect(mediaAt(pieces, T - 1)).toBeNull();
    expect(mediaAt(pieces, T + 79_500)).toBeNull();
    expect(mediaAt([], T)).toBeNull();
  });

  it('lets playback start at the first picture when the playlist begins later', () => {
    expect(startAt(pieces, T - 5000)).toBe(0);
    expect(startAt(pieces, T + 5000)).toBe(5);
  });
});

describe('playlists', () => {
  it('take what hls.js knows, leaving out what has no time', () => {
    const facts = [
      { start: 0, duration: 2, programDateTime: T },
      { start: 2, duration: 2, programDateTime: null },
    ];
    expect(piecesOf(facts)).toEqual([{ start: 0, duration: 2, wall: T }]);
  });

  it('know their end', () => {
    expect(endOf(pieces)).toBe(T + 79_500);
    expect(endOf([])).toBeNull();
  });
});

describe('jumps', () => {
  it('are told when playback crosses a gap', () => {
    expect(jumpBetween(pieces, T + 9900, T + 70_100)).toEqual({ from: T + 10_000, to: T + 70_000 });
  });

  it('are none while wall time runs on', () => {
    expect(jumpBetween(pieces, T + 3900, T + 4100)).toBeNull();
    expect(jumpBetween(pieces, T + 71_900, T + 72_100)).toBeNull();
  });

  it('are none where two files meet', () => {
    const meeting = [pieces[0]!, { start: 2, duration: 2, wall: T + 2040 }];
    expect(jumpBetween(meeting, T + 1990, T + 2100)).toBeNull();
  });
});
