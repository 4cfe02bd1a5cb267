/**
 * Where the page is: `#/` shows all cameras, `#/camera/ID` one, `#/calls` the last calls, `#/calls/ID` those of one
 * camera or person, `#/call/ID` one call. The hash needs nothing from the server.
 */
export type Route =
  | { readonly page: 'grid' }
  | { readonly page: 'camera'; readonly id: string }
  | { readonly page: 'calls'; readonly party: string }
  | { readonly page: 'call'; readonly id: string };

export function parseRoute(hash: string): Route {
  if (hash === '#/calls') return { page: 'calls', party: '' };
  const found = /^#\/(camera|calls|call)\/([^/?]+)$/.exec(hash);
  if (!found) return { page: 'grid' };
  try {
    const id = decodeURIComponent(found[2]!);
    if (found[1] === 'calls') return { page: 'calls', party: id };
    return { page: found[1] as 'camera' | 'call', id };
  } catch {
    return { page: 'grid' };
  }
}

export function addressOf(route: Route): string {
  if (route.page === 'grid') return '#/';
  if (route.page === 'calls') return route.party ? `#/calls/${encodeURIComponent(route.party)}` : '#/calls';
  return `#/${route.page}/${encodeURIComponent(route.id)}`;
}

let current = $state.raw<Route>({ page: 'grid' });

export function route(): Route {
  return current;
}

export function followRoute(): () => void {
  const follow = (): void => {
    current = parseRoute(location.hash);
  };
  follow();
  addEventListener('hashchange', follow);
  return () => removeEventListener('hashchange', follow);
}
