import { ApiError, type Grant } from './api';
import type { Key } from './i18n/translate';
import { toRfc3339 } from './time';
import type { Span } from './timeline/geometry';

/** The longest range a media server exports at once. */
const LONGEST = 24 * 3_600_000;

/** Why a range cannot be downloaded, as far as it can be told without asking; null when it can be asked for. */
export function refusalOf({ start, end }: Span): Key | null {
  if (end <= start) return 'export.invalid';
  return end - start > LONGEST ? 'export.too-long' : null;
}

/** Where a part of a range is fetched from. */
export function exportAddress(grant: Grant, camera: string, range: Span, part: number): string {
  const query = new URLSearchParams({
    from: toRfc3339(range.start), to: toRfc3339(range.end), token: grant.token, part: String(part),
  });
  return `${grant.url}/export/${encodeURIComponent(camera)}.mp4?${query}`;
}

/**
 * Of how many parts an export is: more than one where the camera's codec changed. The browser's own download would
 * not tell the page, nor that nothing is recorded. Throws ApiError.
 */
export async function partsOf(address: string): Promise<number> {
  const init: RequestInit = { method: 'HEAD', cache: 'no-store', signal: AbortSignal.timeout(60_000) };
  const answer = await fetch(address, init).catch(() => {
    throw new ApiError(0, 'unreachable', 'the server does not answer');
  });
  if (!answer.ok) throw new ApiError(answer.status, 'refused', answer.statusText);
  return Number(answer.headers.get('X-Export-Parts')) || 1;
}

/** What to say of an export that did not begin. */
export function failureOf(error: ApiError): Key {
  if (error.status === 404) return 'export.empty';
  return error.status === 403 ? 'export.forbidden' : 'export.failed';
}
