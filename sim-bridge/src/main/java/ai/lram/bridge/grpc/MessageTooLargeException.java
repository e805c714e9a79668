package ai.lram.bridge.grpc;

/** A message longer than the server accepts; it was not sent. */
public final class MessageTooLargeException extends BridgeException {
    private static final long serialVersionUID = 1L;

    MessageTooLargeException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}
