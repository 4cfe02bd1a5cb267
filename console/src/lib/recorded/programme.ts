/**
 * Between the media time of an HLS playlist and the wall clock of what was recorded.
 *
 * Media time is continuous: gaps take no room in it. Wall time jumps at every gap. Each fragment says both (its
 * EXT-X-PROGRAM-DATE-TIME, RFC 8216 §4.3.2.6), and between two fragment starts both run at the same speed.
 */

export interface Piece {
  /** Media seconds. */
  readonly start: number;
  readonly duration: number;
  /** Milliseconds since the epoch at `start`. */
  readonly wall: number;
}

/** What hls.js knows of a fragment, as far as it matters here. */
export interface FragmentFacts {
  readonly start: number;
  readonly duration: number;
  readonly programDateTime: number | null;
}

export function piecesOf(fragments: readonly FragmentFacts[]): Piece[] {
  return fragments.flatMap(({ start, duration, programDateTime }) =>
    programDateTime === null ? [] : [{ start, duration, wall: programDateTime }],
  );
}

/** The wall time shown at a media time; null without a playlist. Before or after it, its ends count. */
export function wallAt(pieces: readonly Piece[], media: number): number | null {
  const first = pieces[0];
  if (!first) return null;
  let piece = first;
  for (const candidate of pieces) {
    if (candidate.start > media) break;
    piece = candidate;
  }
  const inside = Math.min(Math.max(0, media - piece.start), piece.duration);
  return piece.wall + inside * 1000;
}

/**
 * The media time that shows a wall time: inside a gap the first picture after it. Null when the playlist ends
 * before, or begins more than a gap's jump after it (then another playlist is needed).
 */
export function mediaAt(pieces: readonly Piece[], wall: number): number | null {
  const first = pieces[0];
  if (!first || wall < first.wall) return null;
  for (const piece of pieces) {
    if (wall < piece.wall) return piece.start;
    const inside = (wall - piece.wall) / 1000;
    if (inside < piece.duration) return piece.start + inside;
  }
  return null;
}

/** Where playback starts in a playlist that was fetched for `wall`: there, else at its first picture. */
export function startAt(pieces: readonly Piece[], wall: number): number {
  return mediaAt(pieces, wall) ?? (pieces[0] && wall < pieces[0].wall ? pieces[0].start : 0);
}

/** The wall time at which the playlist ends; null without one. */
export function endOf(pieces: readonly Piece[]): number | null {
  const last = pieces[pieces.length - 1];
  return last ? last.wall + last.duration * 1000 : null;
}

export interface Jump {
  readonly from: number;
  readonly to: number;
}

/** The gap that was skipped between two positions that follow each other; null when wall time just ran on. */
export function jumpBetween(pieces: readonly Piece[], before: number, after: number): Jump | null {
  for (let i = 1; i < pieces.length; i++) {
    const ended = pieces[i - 1]!;
    const began = pieces[i]!;
    const end = ended.wall + ended.duration * 1000;
    if (began.wall - end > 1000 && before <= end + 1 && before >= ended.wall && after >= began.wall) {
      return { from: end, to: began.wall };
    }
  }
  return null;
}
