import type { Key } from './i18n/translate';

/** How a cause of a gap is named and drawn. The class picks colour and hatching, so colour never stands alone. */
export interface CauseLook {
  readonly key: Key;
  readonly look: string;
}

const LOOKS: Record<string, CauseLook> = {
  camera_offline: { key: 'gap.offline', look: 'offline' },
  not_planned: { key: 'gap.not-planned', look: 'not-planned' },
  no_event: { key: 'gap.no-event', look: 'no-event' },
  media_lost: { key: 'gap.media-lost', look: 'media-lost' },
  disk: { key: 'gap.disk', look: 'disk' },
  clock: { key: 'gap.clock', look: 'clock' },
  expired: { key: 'gap.expired', look: 'expired' },
  media_server_down: { key: 'gap.server-down', look: 'server-down' },
};

/** A cause this console does not know yet is shown by its own name. */
export function causeLook(cause: string): CauseLook {
  return LOOKS[cause.replace(/[\s-]/g, '_')] ?? { key: 'gap.other', look: 'other' };
}
