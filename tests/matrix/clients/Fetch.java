import java.net.InetAddress;
import java.net.URI;

/** Fetches a page. usage: Fetch URL; prints: the addresses of its host, a line for each, and what is there. */
public class Fetch {
    public static void main(String[] arguments) throws Exception {
        URI uri = URI.create(arguments[0]);
        for (InetAddress address : InetAddress.getAllByName(uri.getHost())) {
            System.out.println(address.getHostAddress());
        }
        try (var page = uri.toURL().openStream()) {
            System.out.print(new String(page.readAllBytes()));
        }
    }
}
