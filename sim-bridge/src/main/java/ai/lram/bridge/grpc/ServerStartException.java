package ai.lram.bridge.grpc;

/** The server cannot listen at its address. */
public final class ServerStartException extends BridgeException {
    private static final long serialVersionUID = 1L;

    ServerStartException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}
