# MinIO's server for trials, from its static binary: put `minio` into a folder of its own and build there.
#   docker build -f infra/images/minio.Dockerfile -t assay-minio:trial FOLDER
FROM scratch
COPY minio /usr/bin/minio
ENV PATH=/usr/bin HOME=/tmp
USER 10001:10001
ENTRYPOINT []
CMD ["minio", "server", "--address", ":9000", "/data"]
