package ai.lram.bridge.grpc;

/** An address other hosts can reach: refused as long as connections are neither encrypted nor authenticated. */
public final class BindRefusedException extends BridgeException {
    private static final long serialVersionUID = 1L;

    BindRefusedException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}
