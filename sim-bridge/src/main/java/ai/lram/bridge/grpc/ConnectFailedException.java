package ai.lram.bridge.grpc;

/** No server answers at the address, or it speaks another version of the contract. */
public final class ConnectFailedException extends BridgeException {
    private static final long serialVersionUID = 1L;

    ConnectFailedException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}
