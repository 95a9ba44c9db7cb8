import java.net.InetSocketAddress;
import java.net.Socket;
import java.util.Arrays;

/**
 * Connects, sends a stream, and gets it back behind a line that says who answers.
 * usage: Client ADDRESS PORT; prints: own address and port, those of the peer, who answered, "intact".
 */
public class Client {
    static String said(Object address) {
        InetSocketAddress at = (InetSocketAddress) address;
        return at.getAddress().getHostAddress() + " " + at.getPort() + " ";
    }

    public static void main(String[] arguments) throws Exception {
        byte[] sent = new byte[1000003];
        for (int i = 0; i < sent.length; i++) {
            sent[i] = (byte) (i % 251);
        }
        try (Socket socket = new Socket(arguments[0], Integer.parseInt(arguments[1]))) {
            System.out.print(said(socket.getLocalSocketAddress()) + said(socket.getRemoteSocketAddress()));
            socket.getOutputStream().write(sent);
            socket.shutdownOutput();
            byte[] got = socket.getInputStream().readAllBytes();
            int end = 0;
            while (got[end] != '\n') {
                end++;
            }
            boolean intact = Arrays.equals(Arrays.copyOfRange(got, end + 1, got.length), sent);
            System.out.println(new String(got, 0, end) + (intact ? " intact" : " differs"));
        }
    }
}
