import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LivePlayer, type LiveStatus } from './player';

class FakeBuffer extends EventTarget {
  updating = false;
  appended = 0;
  readonly buffered = { length: 0, start: () => 0, end: () => 0 };

  appendBuffer(): void {
    this.appended += 1;
  }
}

class FakeSource extends EventTarget {
  static readonly made: FakeSource[] = [];
  static readonly isTypeSupported = (_mime: string): boolean => true;
  readyState = 'closed';
  duration = 0;
  readonly buffer = new FakeBuffer();

  constructor() {
    super();
    FakeSource.made.push(this);
  }

  addSourceBuffer(): FakeBuffer {
    return this.buffer;
  }

  open(): void {
    this.readyState = 'open';
    this.dispatchEvent(new Event('sourceopen'));
  }
}

class FakeSocket {
  static readonly made: FakeSocket[] = [];
  static readonly OPEN = 1;
  readyState = 1;
  closed = false;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;

  constructor(readonly address: URL | string) {
    FakeSocket.made.push(this);
  }

  say(data: unknown): void {
    this.onmessage?.({ data });
  }

  send(): void {}

  close(): void {
    this.closed = true;
  }
}

class FakeVideo extends EventTarget {
  currentTime = 0;
  playbackRate = 1;
  paused = false;
  src = '';
  load(): void {}
  removeAttribute(): void {}
}

const INIT = JSON.stringify({ type: 'init', mime: 'video/mp4; codecs="avc1.42C01F"' });
const CHUNK = new ArrayBuffer(8);

/** A player whose first connection has brought an init segment and is open for pictures. */
async function playing() {
  const video = new FakeVideo();
  const said: LiveStatus[] = [];
  const grant = () => Promise.resolve({ url: '/media/m-0', token: 't', lifetime: 120 });
  const player = new LivePlayer(video as unknown as HTMLVideoElement, 'cam1', grant, (status) => said.push(status));
  player.start();
  await vi.advanceTimersByTimeAsync(0);
  const [socket] = FakeSocket.made;
  socket!.say(INIT);
  const [source] = FakeSource.made;
  socket!.say(CHUNK);
  expect(source!.buffer.appended).toBe(0);
  source!.open();
  expect(source!.buffer.appended).toBe(1);
  return { player, video, said, socket: socket!, source: source! };
}

beforeEach(() => {
  FakeSource.made.length = FakeSocket.made.length = 0;
  vi.useFakeTimers();
  vi.stubGlobal('document', new EventTarget());
  vi.stubGlobal('location', { href: 'http://console.test/' });
  vi.stubGlobal('MediaSource', FakeSource);
  vi.stubGlobal('WebSocket', FakeSocket);
  vi.spyOn(URL, 'createObjectURL').mockReturnValue('blob:x');
  vi.spyOn(URL, 'revokeObjectURL').mockReturnValue();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe('a live picture', () => {
  it('of a codec that the browser lacks ends with its name, and is not asked for again', async () => {
    vi.spyOn(FakeSource, 'isTypeSupported').mockImplementation((mime) => !mime.includes('hvc1'));
    const said: LiveStatus[] = [];
    const grant = () => Promise.resolve({ url: '/media/m-0', token: 't', lifetime: 120 });
    const video = new FakeVideo() as unknown as HTMLVideoElement;
    const player = new LivePlayer(video, 'cam1', grant, (status) => said.push(status));
    player.start();
    await vi.advanceTimersByTimeAsync(0);
    FakeSocket.made[0]!.say(INIT.replace('avc1.42C01F', 'hvc1.1.6.L93.B0'));
    expect(said.at(-1)).toMatchObject({ phase: 'ended', reason: 'codec', codec: 'hvc1.1.6.L93.B0' });
    await vi.advanceTimersByTimeAsync(60_000);
    expect([FakeSocket.made.length, FakeSource.made.length]).toEqual([1, 0]);
    player.stop();
  });

  it.each(['live', 'sub'] as const)('is asked for by its stream: %s', async (stream) => {
    const video = new FakeVideo() as unknown as HTMLVideoElement;
    const grant = () => Promise.resolve({ url: '/media/m-0', token: 't', lifetime: 120 });
    const player = new LivePlayer(video, 'cam1', grant, () => {}, stream);
    player.start();
    await vi.advanceTimersByTimeAsync(0);
    expect(String(FakeSocket.made[0]!.address)).toContain(`/media/m-0/${stream}/cam1?token=t`);
    player.stop();
  });

  it('starts over when a picture cannot be decoded', async () => {
    const { player, video, said, socket } = await playing();
    video.dispatchEvent(new Event('error'));
    expect(socket.closed).toBe(true);
    expect(said.at(-1)).toMatchObject({ phase: 'waiting', reason: 'reconnecting' });
    await vi.advanceTimersByTimeAsync(2000);
    expect(FakeSocket.made.length).toBe(2);
    FakeSocket.made[1]!.say(INIT);
    expect(FakeSource.made.length).toBe(2);
    player.stop();
  });

  it.each(['ended', 'closed'])('starts over when its source has %s by itself', async (state) => {
    const { player, said, socket, source } = await playing();
    source.readyState = state;
    socket.say(CHUNK);
    expect(source.buffer.appended).toBe(1);
    expect(socket.closed).toBe(true);
    expect(said.at(-1)).toMatchObject({ phase: 'waiting', reason: 'reconnecting' });
    player.stop();
  });

  it('is left alone by an error of the element that is none of its own', async () => {
    const { player, video, said } = await playing();
    player.stop();
    const before = said.length;
    video.dispatchEvent(new Event('error'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect([said.length, FakeSocket.made.length]).toEqual([before, 1]);
  });
});
