# Sluice as a container: built with all tools, run with none of them. The policy, keys and certificates are
# mounted; the root file system may be read-only, but for the folder of the audit log.
#
#   docker build -t sluice .
#   docker run -p 6432:6432 -v ./policies:/etc/sluice/policies:ro -v audit:/var/lib/sluice \
#     -e SLUICE_UPSTREAM=postgresql://sluice@db/support?sslmode=verify-full -e PGPASSWORD sluice
#
# The base is one release of Node and not one digest of it: Debian's fixes come with a rebuild. To pin those as well,
# write @sha256:… behind it, in both places.

FROM node:24.21.0-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY proxy proxy
RUN npm run build && npm prune --omit=dev --omit=optional --no-audit --no-fund

FROM node:24.21.0-bookworm-slim
ENV NODE_ENV=production \
    SLUICE_LISTEN=0.0.0.0:6432 \
    SLUICE_ADMIN=127.0.0.1:9432 \
    SLUICE_POLICY=/etc/sluice/policies \
    SLUICE_AUDIT=/var/lib/sluice/audit
WORKDIR /app
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
# A user without name or home; the volume for the audit log is the only place that it may write to.
RUN mkdir -p /var/lib/sluice && chown 65532:65532 /var/lib/sluice
USER 65532:65532
VOLUME /var/lib/sluice
EXPOSE 6432
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["node", "-e", "fetch('http://127.0.0.1:9432/livez').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve"]
