# `bench` in a container, and by default a server of a bundle that is mounted at /bundle:
#   docker build -t marsbench .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/bundle:/bundle:ro" marsbench
#   docker run --rm -v "$PWD:/work" -w /work marsbench leaderboard
FROM python:3.12-slim
WORKDIR /opt/marsbench
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY framework framework
COPY plugins plugins
RUN pip install --no-cache-dir -c constraints.txt '.[serve,encoder]' && useradd --create-home bench
USER bench
ENV MARSBENCH_HOME=/home/bench/.cache/marsbench
EXPOSE 8000
ENTRYPOINT ["bench"]
CMD ["serve", "/bundle", "--host", "0.0.0.0"]
