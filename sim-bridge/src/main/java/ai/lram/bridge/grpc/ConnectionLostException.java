package ai.lram.bridge.grpc;

/** The connection to the server ended while a session was open, or the session was closed. Open a new one. */
public final class ConnectionLostException extends BridgeException {
    private static final long serialVersionUID = 1L;

    ConnectionLostException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }

    ConnectionLostException(String message, Throwable cause) {
        super(message, cause);
    }
}
