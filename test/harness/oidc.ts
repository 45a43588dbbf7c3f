import { generateKeyPairSync } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** An account of the provider. */
export interface Account {
  readonly groups: readonly string[];
  readonly name: string;
}

export interface OidcProvider {
  readonly issuer: string;
  readonly client: string;
  readonly secret: string;
  /** Requests so far, as METHOD /path. */
  readonly requests: readonly string[];
  stop(): Promise<void>;
}

type Provide = new (
  issuer: string,
  configuration: Readonly<Record<string, unknown>>,
) => { callback(): Parameters<typeof createServer>[1]; on(event: string, listener: () => void): void };

/** A real provider (npm's oidc-provider), whose pages take any password. `redirect`: where the console is reached. */
export async function startOidc(
  redirect: string,
  accounts: Readonly<Record<string, Account>>,
): Promise<OidcProvider> {
  // The package has no types of its own.
  const name = "oidc-provider";
  const { Provider } = (await import(name)) as { Provider: Provide };
  const requests: string[] = [];
  let listener: Parameters<typeof createServer>[1];
  const server: Server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url?.split("?")[0]}`);
    listener?.(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = { id: "sluice-console", secret: "a secret of the provider's client" };
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: client.id,
        client_secret: client.secret,
        redirect_uris: [redirect],
        grant_types: ["authorization_code"],
        response_types: ["code"],
      },
    ],
    jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "one" }] },
    pkce: { required: () => true },
    claims: { openid: ["sub", "groups", "preferred_username"] },
    conformIdTokenClaims: false,
    cookies: { keys: ["a key of the provider's cookies"] },
    features: { devInteractions: { enabled: true } },
    findAccount: (_: unknown, id: string) => ({
      accountId: id,
      claims: () => ({ sub: id, groups: accounts[id]?.groups, preferred_username: accounts[id]?.name }),
    }),
  });
  listener = provider.callback();
  return {
    ...{ issuer, client: client.id, secret: client.secret, requests },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
