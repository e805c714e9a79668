package ai.lram.bridge.grpc;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;

/** Where a server listens: a TCP port or a Unix domain socket. */
public sealed interface Endpoint {
    /** {@code host:port}, {@code [v6]:port} or {@code unix:PATH}. */
    @Override
    String toString();

    /** A TCP port; 0 lets the system choose one when a server binds. */
    record Tcp(String host, int port) implements Endpoint {
        public Tcp {
            if (host.isBlank() || port < 0 || port > 65535) {
                throw invalid(host + ":" + port, "a host and a port of 0 to 65535 are needed", null);
            }
        }

        InetSocketAddress resolve() {
            try {
                return new InetSocketAddress(InetAddress.getByName(host), port);
            } catch (UnknownHostException e) {
                throw invalid(toString(), "the host " + host + " is not known", e);
            }
        }

        @Override
        public String toString() {
            return (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
        }
    }

    /** A Unix domain socket: same host only, some 10 % faster, reachable by who may open the file. */
    record Unix(Path path) implements Endpoint {
        private static final int LONGEST_PATH = 107;

        public Unix {
            if (path.toString().getBytes(StandardCharsets.UTF_8).length > LONGEST_PATH) {
                throw invalid("unix:" + path, "a socket's path has at most " + LONGEST_PATH + " bytes", null);
            }
        }

        @Override
        public String toString() {
            return "unix:" + path;
        }
    }

    /** @throws BridgeConfigException if {@code text} is none */
    static Endpoint parse(String text) {
        if (text.startsWith("unix:")) {
            try {
                return new Unix(Path.of(text.substring("unix:".length())));
            } catch (InvalidPathException e) {
                throw invalid(text, e.getMessage(), e);
            }
        }
        int colon = text.lastIndexOf(':');
        if (colon < 1) {
            throw invalid(text, "there is no port", null);
        }
        String host = text.substring(0, colon);
        if (host.startsWith("[") && host.endsWith("]")) {
            host = host.substring(1, host.length() - 1);
        }
        try {
            return new Tcp(host, Integer.parseInt(text.substring(colon + 1)));
        } catch (NumberFormatException e) {
            throw invalid(text, "the port is no number", e);
        }
    }

    private static BridgeConfigException invalid(String text, String why, Throwable cause) {
        return new BridgeConfigException(
                "address " + text + " cannot be used", why, "give HOST:PORT, e.g. 127.0.0.1:7447, or unix:PATH", cause);
    }
}
